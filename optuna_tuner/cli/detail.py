"""Everything about one study or one trial, for people. On stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_tuner.cli.output import kept, print_rows
from optuna_tuner.cli.panel import show_counts
from optuna_tuner.cli.session import Session
from optuna_tuner.home import artifacts_folder
from optuna_tuner.metrics import SEEN
from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.bottleneck.judging import bottleneck_of
from optuna_tuner.results.wording import exact, goal_metrics, passed_over, repaired, retracted, settings, span, word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna_tuner.results.views import StudyView, TrialView
    from optuna_tuner.values import Scalar


def show_study(session: Session, view: StudyView) -> None:
    """Print what a study is and where it stands."""
    spec, goals = view.spec, view.spec.goals
    wanted = [f"{objective.direction} {objective.metric}" for objective in goals.objectives]
    facts = {
        "study": view.name,
        "description": spec.description,
        "model": spec.model.name,
        "notice": spec.notice,
        "engine": spec.engine.kind,
        "fixed flags": settings(spec.fixed_flags),
        "deployer": spec.deployer.kind,
        "benchmark": spec.benchmark.kind,
        "goals": "; ".join([*wanted, *(constraint.name for constraint in goals.constraints)]),
        "space": ", ".join(spec.space),
        "state": f"{view.state.value}, {view.workers} workers",
        "ended": view.ended_because or "",
        "trials": f"{view.spent} of {view.budget} in {span(view.elapsed_s)}",
        "best": view.best.text,
        "gain": view.comparison.text,
    }
    _facts(session, facts)
    show_counts(session, view)


def show_trial(session: Session, study: StudyView, trial: TrialView) -> None:
    """Print what a trial was asked to be, what it became, and why it failed if it did."""
    answers = beyond_speed(study, trial)
    _facts(
        session,
        {
            "notice": study.spec.notice,
            **_trial_facts(trial),
            "beside speed": answers,
            "KV cache": retracted(trial.kv_cache_retractions),
            "files": str(artifacts_folder() / study.id / trial.attempt_id),
        },
    )
    _flags(session, {**study.spec.fixed_flags, **trial.params}, trial.effective_config)
    _section(session, "Known of these flags", ("",), [(remark,) for remark in trial.remarks])
    # Without figures the amount of a violation is made up, so that the sampler learns; it says nothing to people.
    rows = [(name, *kept(excess, measured=trial.has_measured(name))) for name, excess in trial.constraints.items()]
    _section(session, "Constraints", ("constraint", "", ""), rows)
    _levels(session, study, trial)
    _bottleneck(session, study, trial)
    phases = [(phase.value, span(took)) for phase, took in trial.phases_s.items()]
    _section(session, "Phases", ("phase", "took"), phases)


def _trial_facts(trial: TrialView) -> Mapping[str, str]:
    return {
        "trial": f"{trial.number} ({trial.kind.value})",
        "state": f"{trial.state.value}, {trial.phase.value}" if trial.phase else trial.state.value,
        "repeats": trial.repeats,
        "cause": trial.cause.value if trial.cause else "",
        "evidence": trial.reason,
        "advice": trial.advice,
        "passed over": passed_over(trial.choice),
        "repaired": repaired(trial.choice),
        "values": ", ".join(exact(value) for value in trial.values),
        "level": trial.level,
        "load search": trial.load_search,
        "started": trial.started.isoformat(sep=" ", timespec="seconds") if trial.started else "",
        "took": "" if trial.duration_s is None else span(trial.duration_s),
        "worker": " ".join(filter(None, (trial.worker, trial.host, trial.slot))),
        "tries": f"{trial.tries}, after attempt {trial.retry_of}" if trial.retry_of else "",
    }


def _facts(session: Session, facts: Mapping[str, str]) -> None:
    for name, fact in facts.items():
        if fact:
            session.out.print(f"{name + ':':<13} {fact}", soft_wrap=True)


def _section(session: Session, title: str, columns: Sequence[str], rows: Sequence[tuple[Scalar | None, ...]]) -> None:
    """A table under a title; nothing where there is nothing to tell."""
    if rows:
        session.out.print(f"\n{title}", style="bold")
        print_rows(session, columns, rows)


def _flags(session: Session, asked: Mapping[str, Scalar], effective: Mapping[str, Scalar]) -> None:
    """What was asked for, and what the server made of it where that is something else."""
    rows = [(name, word(value), word(_else(value, effective.get(name)))) for name, value in asked.items()]
    _section(session, "Flags", ("flag", "asked", "the server says otherwise"), rows)
    more = len(effective.keys() - asked.keys())
    if more:
        session.note(f"\nThe server tells {more} more, which were not asked for: the same command with -o yaml")


def _else(asked: Scalar, told: Scalar | None) -> Scalar | None:
    return None if told == asked else told


def _levels(session: Session, study: StudyView, trial: TrialView) -> None:
    """Every metric of every level; of the many loads of a search what the goals speak of, one after the other."""
    if trial.load_search:
        _loads(session, study, trial)
        return
    names = dict.fromkeys(name for level in trial.measurements for name in level.metrics)
    rows = [(name, *(level.metrics.get(name) for level in trial.measurements)) for name in names]
    loads = [str(level.load) for level in trial.measurements]
    _section(session, "Metrics at each load level", ("metric", *loads), rows)


def _bottleneck(session: Session, study: StudyView, trial: TrialView) -> None:
    """What limits it, and what was seen at each load."""
    found = bottleneck_of(study.spec, trial)
    if found is None:
        return
    rows = [("limit", f"{found.limit.value}, at {found.load}: {found.text}")]
    rows += [("evidence", each) for each in found.evidence]
    rows += [("try next", each) for each in found.moves]
    rows += [("not seen", each) for each in found.missing]
    _section(session, "Bottleneck, as a hypothesis", ("", ""), rows)
    seen = {str(level.load): level.seen for level in trial.measurements if level.seen}
    if seen and not trial.load_search:
        names = [name for name in SEEN if any(name in each for each in seen.values())]
        _section(
            session,
            "Seen at each load level",
            ("metric", *seen),
            [(name, *(each.get(name) for each in seen.values())) for name in names],
        )


def _loads(session: Session, study: StudyView, trial: TrialView) -> None:
    names = [*goal_metrics(study.spec.goals), "error_rate"]
    names = [name for name in dict.fromkeys(names) if any(name in level.metrics for level in trial.measurements)]
    probing = any(level.probe for level in trial.measurements)
    rows = [
        (
            str(level.load),
            *map(level.metrics.get, names),
            "" if level.probe or not probing else study.spec.benchmark.kind,
        )
        for level in trial.measurements
    ]
    _section(session, "Loads in the order in which they were measured", ("load", *names, ""), rows)
    _section(session, f"Metrics at {trial.level}", ("metric", ""), list(trial.metrics.items()))
