"""What stands above every export: where it comes from, and what its figures are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from optuna_tuner.contracts import Engine
from optuna_tuner.results.best import UNCONFIRMED, Best, Gain, compare, compared
from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.export.taken import Taken
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import AT_REST, StudyView
from optuna_tuner.results.wording import goal_metrics, measured
from optuna_tuner.store.records import AttemptKind
from optuna_tuner.values import Slot

WIDTH = 110


def comment(lines: Sequence[str]) -> str:
    """The lines behind a `#`, wrapped. Nothing in them can end the comment."""
    shown = (_harmless(line) for line in lines)
    wrapped = [part for line in shown for part in wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)]
    return "".join(f"# {line}\n" for line in wrapped)


def _harmless(line: str) -> str:
    return " ".join("".join(each if each.isprintable() else " " for each in line).split())


def heading(taken: Taken) -> tuple[str, ...]:
    """One fact a line."""
    return tuple(filter(None, _facts(taken)))


def version(taken: Taken) -> str:
    """The engine's version, as far as it is known of this trial."""
    return engine_version(taken.study, taken.trial, taken.engine)


def engine_version(study: StudyView, trial: TrialView | None, engine: Engine) -> str:
    """What the trial's server said of itself, else what the study names; empty where neither does."""
    told, catalogue = trial.effective_config if trial else {}, engine.catalogue()
    build = str(told.get("build_info", "")).removeprefix("b0-unknown")  # llama.cpp that was built from an archive
    named = study.spec.engine.options.get("version")
    known = (told.get("version"), build, named, catalogue.version if catalogue else "")
    return str(next(filter(None, known), ""))


def gain(taken: Taken) -> str:
    """What the trial gains over the default, and what that is worth, in words."""
    study, trial, base = taken.study, taken.trial, taken.study.baseline
    if trial.kind is AttemptKind.BASELINE:
        return f"This is the engine's own default: there is no gain. {UNCONFIRMED}"
    if is_best(taken):
        said = study.comparison.text
        return said if study.comparison.gains else f"{said} {UNCONFIRMED}"
    alone = Best(trials=(trial,), nearest=None, text="")
    found = compare(alone, base, study.spec.goals.objectives)
    if not found.gains or base is None:
        return f"{found.text} {UNCONFIRMED}"
    return f"Not the best trial. Against the engine's default ({base.name}): {_gains(found.gains)}. {UNCONFIRMED}"


def is_best(taken: Taken) -> bool:
    """Whether it is the one that the study recommends."""
    best = taken.study.best.trial
    return best is not None and best.attempt_id == taken.trial.attempt_id


def _facts(taken: Taken) -> Iterator[str]:
    study, trial, spec = taken.study, taken.trial, taken.study.spec
    yield spec.notice
    ran = f", measured on {trial.ended.date().isoformat()}" if trial.ended else ""
    best = " (the best)" if is_best(taken) else ""
    yield f"optuna-tuner: study {study.name}, trial {trial.number}{best}{ran}"
    if study.state not in AT_REST:
        yield f"The study is {study.state.value}, not done: its best may change."
    yield f"Engine: {spec.engine.kind} {version(taken) or '(no version named)'}; model: {spec.model.name}"
    yield f"Machine: {trial.host}, {devices(taken.slot)}; deployed with {spec.deployer.kind}"
    yield f"This run, at {trial.level}: {'; '.join(_figures(taken))}"
    yield f"Gain: {gain(taken)}"
    changed = beyond_speed(study, trial)
    yield f"Beside the speed: {changed}" if changed else ""
    for name, (asked, became) in trial.rewritten.items():
        yield f"The server rewrote {name}: asked for {asked}, it took {became}."
    yield from (f"Known: {remark}" for remark in trial.remarks)


def devices(slot: Slot) -> str:
    """What a worker had for one server."""
    if slot.gpus:
        return f"{len(slot.gpus)} GPU{'s' * (len(slot.gpus) > 1)}"
    return f"{len(slot.cores)} CPU core{'s' * (len(slot.cores) != 1)}"


def _figures(taken: Taken) -> Iterator[str]:
    """What the goals speak of, and whether each promise was kept."""
    metrics, goals = taken.trial.metrics, taken.study.spec.goals
    for name in goal_metrics(goals):
        if name not in metrics:
            continue
        promises = [each for each in goals.constraints if each.metric == name]
        kept = [f"{each.name} is {'kept' if each.excess(metrics) <= 0 else 'BROKEN'}" for each in promises]
        yield f"{name} {measured(name, metrics[name])}" + (f" ({', '.join(kept)})" if kept else "")


def _gains(gains: Sequence[Gain]) -> str:
    return "; ".join(
        f"{each.metric} {measured(each.metric, each.best)} for {measured(each.metric, each.baseline)}"
        + (f" ({compared(each.share)})" if each.share is not None else "")
        for each in gains
    )
