"""What was measured, with what, where, and why in this way: the words are the study file's, put into sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from optuna_tuner.results.export.heading import devices
from optuna_tuner.results.report.document import Fact
from optuna_tuner.results.report.efficiency import Price
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.wording import endings, settings, span
from optuna_tuner.spec.space import Choice, Float, Int, Parameter
from optuna_tuner.spec.study import Part

FAILURES = (
    "A configuration that fails is told to the search as a broken constraint; a machine that fails is not, and its "
    "flags are tried again."
)
BEST_LOAD = "One warm server takes all loads in turn; a trial is scored at the load that suits it best within the SLO."


def method(study: StudyView, version: str, price: Price | None) -> tuple[Fact, ...]:
    """What was measured, with what, and where."""
    spec = study.spec
    facts = {
        "Engine": " ".join(
            filter(None, (spec.engine.kind, version, f"like {spec.engine.like}" * bool(spec.engine.like)))
        ),
        "Model": spec.model.name,
        "Flags of every trial": settings(spec.fixed_flags) or "none: all is left to the engine",
        "Deployed with": _part(spec.deployer),
        "Load": _part(spec.benchmark),
        "Machines": _machines(study),
        "Wanted": "; ".join(f"{each.direction} {each.metric}" for each in spec.goals.objectives),
        "Promised (SLO)": "; ".join(each.name for each in spec.goals.constraints) or "nothing",
        "Search": "" if spec.is_benchmark else _search(study),
        "Measured again": "" if spec.is_benchmark else _again(study),
        "Took": f"{span(study.elapsed_s)}, begun {study.created.isoformat(sep=' ', timespec='minutes')}",
        "Price": f"{price.gpu_hour:g} {price.currency} for a GPU and hour, as given" if price else "",
    }
    return tuple(Fact(name=name, text=text) for name, text in facts.items() if text)


def _part(part: Part) -> str:
    return " ".join([part.kind, *(f"{name}={_plain(value)}" for name, value in part.options.items())])


def _plain(value: JsonValue) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_plain(each)}' for name, each in value.items())}}}"
    return str(value)


def _machines(study: StudyView) -> str:
    """Each host with what one worker had of it."""
    found = {
        f"{trial.host} ({devices(trial.machine)} a server)" for trial in study.trials if trial.machine and trial.host
    }
    return "; ".join(sorted(found))


def _search(study: StudyView) -> str:
    sampler = study.spec.sampler
    seed = "" if sampler.seed is None else f", seed {sampler.seed}"
    return f"{sampler.kind}{seed}; {study.spent} of {study.budget} trials: {endings(study)}"


def _again(study: StudyView) -> str:
    spec = study.spec
    if spec.confirm is None and not spec.baseline_every and not study.counts.again:
        return "nothing"
    asked = [f"the default after every {spec.baseline_every} trials"] * bool(spec.baseline_every)
    if spec.confirm:
        asked.append(f"the best {spec.confirm.top}, then {spec.confirm.pairs} pairs of winner and default")
    return f"{'; '.join(asked) or 'asked for later'}: {study.counts.again} runs so far"


def design(study: StudyView) -> tuple[Fact, ...]:
    """Why it was measured like that."""
    reasons = _reasons_of_benchmark(study) if study.spec.is_benchmark else _reasons(study)
    return tuple(Fact(name=name, text=text) for name, text in reasons)


def _reasons_of_benchmark(study: StudyView) -> Iterator[tuple[str, str]]:
    yield _about_loads(study)
    yield "One server", "It was started once. How far two starts of it lie apart is not in the figures."


def _reasons(study: StudyView) -> Iterator[tuple[str, str]]:
    spec = study.spec
    if spec.baseline:
        yield "The default first", "Trial 0 has the fixed flags alone; every gain here is stated against it."
    if len(spec.goals.objectives) > 1:
        yield (
            "Several objectives",
            "They are not weighed against each other: the result is the front that no trial beats.",
        )
    if spec.goals.constraints:
        yield "The promise is a constraint", "A trial that breaks it is kept and learned from, and is never the best."
    yield "Failures teach", FAILURES
    yield _about_loads(study)
    if spec.rules:
        yield (
            "Known to be wrong",
            "; ".join(f"{rule.forbid} ({rule.because or 'a rule of the study'})" for rule in spec.rules),
        )
    if spec.quality:
        yield (
            "The answers are guarded",
            "A candidate whose flags change the answers is held against the default's first.",
        )
    yield "The best of many is lucky", _luck(study)


def _about_loads(study: StudyView) -> tuple[str, str]:
    if any(trial.load_search for trial in study.trials):
        return "The load is searched", "Each trial looks for the most load within the SLO, on one warm server."
    if study.spec.goals.level == "mean":
        return "Mean over the loads", "Each metric is the mean over all loads, which one warm server takes in turn."
    return "The best load counts", BEST_LOAD


def _luck(study: StudyView) -> str:
    if study.confirmation and study.confirmation.pairs:
        return (
            "So the search's own figures are not reported: winner and default were measured again back to back, and "
            "the interval is Student's, of the mean of the pairs' log ratios."
        )
    return "Its figures are those of one run each, and are likely too good; pairs of winner and default would tell."


def space(parameters: Mapping[str, Parameter]) -> tuple[Fact, ...]:
    """The flags that were searched."""
    return tuple(Fact(name=name, text=_values(each)) for name, each in parameters.items())


def _values(each: Parameter) -> str:
    when = "".join(f", when {name} is {' or '.join(map(str, wanted))}" for name, wanted in each.conditions().items())
    kind = " (variable)" if each.env else ""
    if isinstance(each, Choice):
        return ", ".join(map(str, each.choices)) + kind + when
    if isinstance(each, Int | Float):
        step = f", step {each.step:g}" if each.step not in {None, 1} or (isinstance(each, Float) and each.step) else ""
        return f"{each.low:g} to {each.high:g}{step}{', logarithmic' if each.log else ''}{kind}{when}"
    return f"on, off{kind}{when}"
