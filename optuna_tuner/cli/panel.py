"""What a study found, for people: gain, constraints, flags, counts, next steps. On stdout."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from optuna_tuner.cli.output import kept, print_rows
from optuna_tuner.cli.recheck import show_recheck
from optuna_tuner.cli.session import Session
from optuna_tuner.results.best import value_of
from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.diff import flag_changes
from optuna_tuner.results.wording import endings, interval, measured, percent, span, word

if TYPE_CHECKING:
    from optuna_tuner.results.views import StudyView, TrialView
    from optuna_tuner.results.why import Why
    from optuna_tuner.values import Scalar

    Rows = list[tuple[Scalar | None, ...]]

ENGINES_OWN = "(engine's own)"


def show_results(session: Session, view: StudyView, why: Why | None = None) -> None:
    """Print the results of a study, and which of the flags are predicted to matter where that was asked."""
    session.out.print(
        f"Study {view.name}: {view.state.value}, {view.spent} of {view.budget} trials in {span(view.elapsed_s)}",
        style="bold",
    )
    if view.spec.notice:
        session.out.print(view.spec.notice, style="yellow", soft_wrap=True)
    if view.ended_because:
        style = "" if view.state == "done" else "red"
        session.out.print(f"It was ended: {view.ended_because}", style=style, soft_wrap=True)
    show_counts(session, view)
    best = view.best.trial
    if view.older:
        show_recheck(session, view)
    elif best is None:
        session.out.print(f"\n{view.best.text}")
    else:
        _show_best(session, view, best)
    for line in filter(None, (why.text, why.ahead) if why and not view.older else ()):
        session.out.print(f"\n{line}")
    session.note(_next_steps(view, why))


def show_counts(session: Session, view: StudyView) -> None:
    """Print how the trials ended, and what to conclude from each cause of failure."""
    counts = view.counts
    session.out.print(f"{endings(view)}, {counts.running} running, {counts.queued} queued")
    if counts.repeated:
        session.out.print("  Repeated: the same server as an earlier trial, not measured again and not counted.")
    for cause, count in view.causes.items():
        session.out.print(f"  {count} x {cause.value}: {view.advice(cause)}")


def _show_best(session: Session, view: StudyView, best: TrialView) -> None:
    default = f"default (trial {view.baseline.number})" if view.baseline else "default"
    session.out.print()
    titles: tuple[str, ...] = ("", default, f"best (trial {best.number})", "gain")
    if view.confirmation:
        titles += (f"{view.confirmation.confidence * 100:g} % interval",)
    print_rows(session, titles, [row[: len(titles)] for row in _objectives(view, best)])
    session.out.print(f"\n{view.comparison.text}")
    if view.machine_drift:
        session.out.print(view.machine_drift)
    if best.level:
        session.out.print(_levels(view, best))
    if more := beyond_speed(view, best):
        session.out.print(f"Beside the speed: {more}.")
    session.out.print()
    print_rows(
        session, ("constraint", "best trial", ""), [(name, *kept(each)) for name, each in best.constraints.items()]
    )
    if flags := _flags(view, best):
        session.out.print()
        print_rows(session, ("flag", "default", "best"), flags)
    others = [str(trial.number) for trial in view.best.trials[1:]]
    if others:
        session.out.print(f"\nAlso on the Pareto front: trials {', '.join(others)}.")


def _levels(view: StudyView, best: TrialView) -> str:
    """Where each was scored: every configuration at the level that suits it best."""
    theirs = view.baseline.level if view.baseline else ""
    other = f"; the default at {theirs}, the level that suits it best" if theirs not in {"", best.level} else ""
    searched = f" Found by a search: {best.load_search}." if best.load_search else ""
    return f"Measured at {best.level}{other}.{searched}"


def _objectives(view: StudyView, best: TrialView) -> Rows:
    gains = {gain.metric: gain for gain in view.comparison.gains}
    rows: Rows = []
    for place, objective in enumerate(view.spec.goals.objectives):
        metric, gain = objective.metric, gains.get(objective.metric)
        ours = gain.best if gain else best.values[place]
        theirs = gain.baseline if gain else value_of(view.baseline, place, objective) if view.baseline else None
        said = "not known" if theirs is None else measured(metric, theirs)
        share = percent(gain.share) if gain and gain.share is not None else ""
        rows.append((metric, said, measured(metric, ours), share, interval(gain.low, gain.high) if gain else ""))
    return rows


def _flags(view: StudyView, best: TrialView) -> Rows:
    resolved = view.baseline.effective_config if view.baseline else {}
    return [
        (
            change.flag,
            word(change.default) if change.default is not None else f"{word(change.own)} {ENGINES_OWN}".lstrip(),
            word(change.best) if change.differs else "the same",
        )
        for change in flag_changes(view.spec.fixed_flags, best.params, resolved)
    ]


def _next_steps(view: StudyView, why: Why | None) -> str:
    name, trial = quote(view.name), view.best.trial or view.best.nearest
    steps = [f"optuna-tuner confirm {name}"] if view.is_unconfirmed and not view.older else []
    if why and why.is_too_long and view.has_won and view.simplification is None and not view.older:
        steps += [f"optuna-tuner confirm {name} --simplify 1"]
    steps += [f"optuna-tuner show {name} {trial.number}"] if trial else []
    steps += [f"optuna-tuner why {name}"] if view.best.trial and not view.older else []
    steps += [f"optuna-tuner trials {name}", f"optuna-tuner report {name} -o report"]
    steps += [f"optuna-tuner results {name} --format yaml", "optuna-tuner dashboard"]
    return "\nNext:\n" + "\n".join(f"  {step}" for step in steps)
