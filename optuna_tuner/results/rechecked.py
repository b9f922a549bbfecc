"""What a gate or a rerun says, in words, as rows and as data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from optuna_tuner.results.views import AT_REST, StudyView
from optuna_tuner.results.wording import goal_metrics, interval, percent
from optuna_tuner.search.gating import Gated, Held, Judged, Reason
from optuna_tuner.search.rerunning import Agreement, Rerunning
from optuna_tuner.search.shift import Shift
from optuna_tuner.spec.recheck import Gate, Rerun
from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.values import Json

SAYS = {
    Reason.HOLDS: "held: the winner lost no more than it may",
    Reason.SLOWER: "regressed: the winner lost more than it may",
    Reason.NO_START: "regressed: the winner gives no figures any more",
    Reason.BROKEN_PROMISE: "regressed: the winner breaks the promise, and more often than then",
    Reason.NOISE: "cannot tell: the pairs do not settle it",
    Reason.PROMISE_IN_DOUBT: "cannot tell: the winner broke the promise, and the pairs do not tell "
    "whether more often than then",
    Reason.BOTH_SLOWER: "cannot tell: the winner lost too much, and the default as much: "
    "it is the machine, or the engine as a whole",
    Reason.DEFAULT_FASTER: "cannot tell: the winner lost nothing, and the default gained: "
    "its advantage is gone, or the machine is faster",
    Reason.NO_DEFAULT: "cannot tell: the default gives no figures, so there is nothing to measure against",
}
ADVICE = {
    Reason.NOISE: "Give it more pairs (--pairs), longer measurements, or a quieter machine.",
    Reason.PROMISE_IN_DOUBT: "Give it more pairs (--pairs).",
    Reason.BOTH_SLOWER: "A gate with the old engine, here and now, tells which; hold the new one against that gate.",
    Reason.DEFAULT_FASTER: "A gate with the old engine, here and now, tells which; hold the new one against that gate.",
}
AGREES = {
    Agreement.SAME: "the same: any difference is too small to count",
    Agreement.NOISE: "they agree within the noise",
    Agreement.DIFFERENT: "they do not agree: the noise does not explain the difference",
    Agreement.UNKNOWN: "cannot tell: one side has no figures",
}


class Row(NamedTuple):
    """A metric of then and now: geometric means, in the metric's unit; `share` is the change of the value itself."""

    who: str
    metric: str
    then: float
    now: float

    @property
    def share(self) -> float | None:
        """Of then; None where that is zero."""
        return self.now / self.then - 1 if self.then else None


def recheck_text(study: StudyView) -> str:
    """What is known, in sentences; empty for a study that searches."""
    if study.gated and study.spec.gate:
        return " ".join(filter(None, _gate_sentences(study, study.spec.gate, study.gated)))
    if study.rerunning and study.spec.rerun:
        return " ".join(filter(None, _rerun_sentences(study, study.spec.rerun, study.rerunning)))
    return ""


def is_met(study: StudyView) -> bool | None:
    """Whether the winner held, or the figures agree; None where that is not known."""
    if study.gated is not None:
        return {Held.HELD: True, Held.REGRESSED: False}.get(study.gated.held)
    agreement = study.rerunning.agreement if study.rerunning else None
    return None if agreement in {None, Agreement.UNKNOWN} else agreement is not Agreement.DIFFERENT


def rows(study: StudyView) -> Sequence[Row]:
    """What the goals speak of, of then and of now."""
    if study.gated is not None and study.spec.gate is not None:
        gate, pairs = study.spec.gate, study.gated.pairs
        return [
            *_rows(study, "winner", gate.winner, [pair.winner for pair in pairs]),
            *_rows(study, "default", gate.default, [pair.default for pair in pairs]),
        ]
    if study.rerunning is not None and study.spec.rerun is not None:
        return list(_rows(study, "trial", study.spec.rerun.figures, study.rerunning.runs))
    return ()


def recheck_document(study: StudyView) -> dict[str, Json] | None:
    """All of it for JSON and YAML; None for a study that searches. Key names are stable; shifts are shares of then."""
    older, found = study.older, study.gated or study.rerunning
    if older is None or found is None:
        return None
    return {
        "kind": study.kind,
        "study": older.study,
        "trial": older.trial,
        "met": is_met(study),
        "text": recheck_text(study),
        "confidence": found.confidence,
        **(_gate_part(study, study.gated) if study.gated else {}),
        **(_rerun_part(study, study.rerunning) if study.rerunning else {}),
        "metrics": [{**row._asdict(), "share": row.share} for row in rows(study)],
    }


def _gate_part(study: StudyView, found: Gated) -> dict[str, Json]:
    gate = study.spec.gate
    return {
        "verdict": found.held.value,
        "reason": found.reason.value if found.reason else None,
        "max_regression": gate.max_regression if gate else None,
        "pairs": len(found.pairs),
        "most_pairs": found.most,
        "kept": found.kept,
        "objectives": [_judged(each) for each in found.objectives],
    }


def _judged(found: Judged) -> dict[str, Json]:
    return {
        "metric": found.metric,
        "verdict": found.reason.held.value if found.reason else None,
        "reason": found.reason.value if found.reason else None,
        "against_default": _shift(found.against_default),
        "winner": _shift(found.winner),
        "default": _shift(found.default),
    }


def _rerun_part(study: StudyView, found: Rerunning) -> dict[str, Json]:
    objectives = zip(study.spec.goals.objectives, found.shifts, strict=True)
    return {
        "verdict": found.agreement.value if found.agreement else None,
        "runs": len(found.runs),
        "times": found.times,
        "tolerance": found.tolerance,
        "objectives": [{"metric": each.metric, "shift": _shift(shift)} for each, shift in objectives],
    }


def _shift(found: Shift | None) -> Json:
    return {"share": found.share, "low": found.low, "high": found.high} if found else None


def _gate_sentences(study: StudyView, gate: Gate, found: Gated) -> Iterator[str]:
    if found.reason is None:
        state = (
            "It has not ended"
            if study.state not in AT_REST
            else f"It ended unsettled: {study.ended_because or study.state.value}"
        )
        yield f"{state}, after {len(found.pairs)} of at most {found.most} pairs."
    else:
        yield f"Gate {SAYS[found.reason]}."
    for each in found.objectives:
        yield _said_of(each, gate, found)
    if found.kept < len(found.pairs):
        yield (
            f"The winner kept every constraint in {found.kept} of {len(found.pairs)} pairs; "
            f"then in {gate.kept} of {gate.pairs}. {_broken(found)}"
        )
    yield _last_words(study, found)
    yield ADVICE.get(found.reason, "") if found.reason else ""


def _said_of(each: Judged, gate: Gate, found: Gated) -> str:
    """Of one objective; where there are several, with its own verdict."""
    verdict = f"{each.metric}: {SAYS[each.reason]}. " if each.reason and len(found.objectives) > 1 else ""
    if each.against_default is None:
        return verdict.strip()
    sure = f"{found.confidence * 100:g} % interval, {len(found.pairs)} pairs now, {gate.pairs} then"
    said = (
        f"{verdict}{each.metric} since then: the winner beside the default {_said(each.against_default)}, "
        f"and may lose {gate.max_regression * 100:g} % ({sure})."
    )
    if each.winner is None or each.default is None:
        return said
    return f"{said} By itself the winner {_said(each.winner)}, the default {_said(each.default)}."


def _broken(found: Gated) -> str:
    """The constraints that the winner broke, and how often."""
    outcomes = [pair.winner.outcome for pair in found.pairs if pair.winner and pair.winner.outcome]
    times = Counter(name for each in outcomes for name, excess in each.constraints.items() if excess > 0)
    return f"Broken: {', '.join(f'{name} ({count} x)' for name, count in times.most_common())}." if times else ""


def _last_words(study: StudyView, found: Gated) -> str:
    """What a server said that does not run."""
    if found.reason not in {Reason.NO_START, Reason.NO_DEFAULT}:
        return ""
    default = found.reason is Reason.NO_DEFAULT
    words = [each.reason for each in study.trials if each.reason and bool(each.params) is not default]
    return f"Its last words: {words[-1]}." if words else ""


def _rerun_sentences(study: StudyView, rerun: Rerun, found: Rerunning) -> Iterator[str]:
    if found.agreement is None:
        state = "It has not ended" if study.state not in AT_REST else "It ended early"
        yield f"{state}: {len(found.runs)} of {found.times} runs."
    else:
        yield f"Rerun, then and now: {AGREES[found.agreement]}."
    for objective, shift in zip(study.spec.goals.objectives, found.shifts, strict=True):
        if shift:
            yield (
                f"{objective.metric} since then: {_said(shift)}; {found.confidence * 100:g} % interval, "
                f"{len(found.runs)} runs now, {len(rerun.figures.get(objective.metric, ()))} then; "
                f"less than {found.tolerance * 100:g} % does not count."
            )
    if rerun.cause:
        yield f"Then it gave no figures: {rerun.cause}."
    causes = sorted({run.outcome.cause.value for run in found.runs if run.outcome and run.outcome.cause})
    if causes:
        yield f"Now: {', '.join(causes)}."


def _said(shift: Shift) -> str:
    return f"{percent(shift.share)} ({interval(shift.low, shift.high)})"


def _rows(
    study: StudyView, who: str, then: Mapping[str, Sequence[float]], runs: Sequence[AttemptRecord | None]
) -> Iterator[Row]:
    outcomes = [run.outcome for run in runs if run is not None and run.outcome is not None]
    for metric in goal_metrics(study.spec.goals):
        now = [outcome.metrics[metric] for outcome in outcomes if metric in outcome.metrics]
        if now and then.get(metric):
            yield Row(who, metric, _middle(then[metric]), _middle(now))


def _middle(values: Sequence[float]) -> float:
    """The geometric mean; the arithmetic one where a value is not above zero."""
    if min(values) <= 0:
        return math.fsum(values) / len(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))
