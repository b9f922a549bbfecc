"""Studies that measure again what an older one found: a gate of its winner, a rerun of a trial.

Both are studies like all others, and run as these do. Here is only decided what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import ConflictError
from optuna_tuner.results.bundle.environment import Facts
from optuna_tuner.results.bundle.original import Original
from optuna_tuner.results.views import StudyState, StudyView
from optuna_tuner.results.wording import goal_metrics
from optuna_tuner.search.pairs import Pair
from optuna_tuner.spec.deriving import AS_IT_WAS, Content, NewEngine, derive
from optuna_tuner.spec.recheck import FEWEST_RUNS
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.values import Scalar

LONGEST_NAME = 80  # characters of the older study's name; with what is added it is a name still
MOST_PAIRS = 20  # of a gate: with fewer a noise of 2 % would too often hide a loss of 10 % (benchmarks/gates.py)
TIMES = 3  # of a rerun
UNFINISHED = {StudyState.WAITING, StudyState.STOPPED, StudyState.CANCELLED, StudyState.PAUSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOrder:
    """A gate that is wanted: of which study, how much its winner may lose, in how many pairs at most.

    Without a name it gets one, or goes on with one like it that was left unfinished.
    """

    study: str
    max_regression: float = 0.05
    pairs: int = MOST_PAIRS
    engine: NewEngine = AS_IT_WAS
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunOrder:
    """A rerun that is wanted: of a bundle's folder, or of `STUDY`, `STUDY/baseline` or `STUDY/7`, and how often.

    As to the name: as for a gate.
    """

    source: str
    times: int = TIMES
    engine: NewEngine = AS_IT_WAS
    name: str | None = None


def gate_of(
    older: StudyView, order: GateOrder, surrounded: Facts, others: Sequence[StudyView], kinds: Kinds
) -> StudySpec:
    """The study that is this gate. Raises ConflictError where there is no winner to hold, and SpecError."""
    # Of a study that was simplified the whole winner: what has fewer flags was measured against that one.
    confirmation = older.simplification.winner if older.simplification else older.confirmation
    metrics = goal_metrics(older.spec.goals)
    pairs = [each for each in (confirmation.pairs if confirmation else ()) if _is_whole(each, metrics)]
    if confirmation is None or len(pairs) < FEWEST_RUNS:
        raise ConflictError(
            f'study "{older.name}" has no confirmed winner that could be held; what a search saw once was mostly luck: '
            f"optuna-tuner confirm {older.name}"
        )
    winner, of = confirmation.winner, older.spec.gate
    section: Content = {
        "study": of.study if of else older.name,
        "trial": of.trial if of else winner.number or 0,
        "environment": dict(surrounded),
        "max_regression": order.max_regression,
        "winner": _figures([pair.winner for pair in pairs], metrics),
        "default": _figures([pair.default for pair in pairs], metrics),
        "kept": sum(bool(pair.winner and pair.winner.outcome and pair.winner.outcome.feasible) for pair in pairs),
    }
    params: dict[str, Scalar] = {**winner.params.flags, **winner.params.env} if winner.params else {}
    confirm: Content = {"top": 1, "pairs": order.pairs, "confidence": confirmation.confidence}
    name = order.name or _fresh(f"{section['study']}"[:LONGEST_NAME] + "-gate", others)
    made = derive(older.spec, name, params, {"gate": section, "confirm": confirm}, order.engine, kinds)
    return _made_or_unfinished(made, others, named=order.name is not None)


def rerun_of(original: Original, order: RerunOrder, others: Sequence[StudyView], kinds: Kinds) -> StudySpec:
    """The study that is this rerun. Raises ConflictError where the trial cannot be run again, and SpecError."""
    if original.never_ran:
        raise ConflictError(f"trial {original.trial} cannot be run again: {original.never_ran}")
    section: Content = {
        "study": original.study,
        "trial": original.trial,
        "environment": dict(original.environment),
        "times": order.times,
        "figures": {metric: list(runs) for metric, runs in original.figures.items()},
        "cause": original.cause,
    }
    # The answers are guarded against the default's, so that one is asked too.
    added: Content = {"rerun": section, "baseline": original.spec.quality is not None or not original.params}
    name = order.name or _fresh(f"{original.study[:LONGEST_NAME]}-rerun", others)
    made = derive(original.spec, name, original.params, added, order.engine, kinds)
    return _made_or_unfinished(made, others, named=order.name is not None)


def _is_whole(pair: Pair, metrics: Sequence[str]) -> bool:
    """Whether both halves have all that the goals speak of."""
    return all(half.outcome is not None and half.outcome.metrics.keys() >= set(metrics) for half in pair.halves)


def _figures(runs: Sequence[AttemptRecord | None], metrics: Sequence[str]) -> Content:
    outcomes = [run.outcome for run in runs if run is not None and run.outcome is not None]
    return {metric: [outcome.metrics[metric] for outcome in outcomes] for metric in metrics}


def _fresh(stem: str, others: Sequence[StudyView]) -> str:
    """The first number that no study has."""
    taken = {each.name for each in others}
    return next(name for name in (f"{stem}-{number}" for number in count(1)) if name not in taken)


def _made_or_unfinished(made: StudySpec, others: Sequence[StudyView], *, named: bool) -> StudySpec:
    """One that asks the same and was left unfinished goes on, judged as it began; what ended is never shown as new."""
    known = next((each for each in others if each.name == made.name), None)
    if known is not None and known.state not in UNFINISHED:
        state = "has ended: give another name, or none" if known.state is StudyState.DONE else "is at work"
        raise ConflictError(f'study "{made.name}" {state}')
    like = [known] if known else [] if named else [each for each in others if each.state in UNFINISHED]
    return next((each.spec for each in reversed(like) if _asks_the_same(each.spec, made)), made)


def _asks_the_same(one: StudySpec, other: StudySpec) -> bool:
    return one.space_hash() == other.space_hash() and _asked(one) == _asked(other)


def _asked(spec: StudySpec) -> Mapping[str, object]:
    """What is wanted of it, beside the question itself."""
    wanted = {"gate": {"study", "trial", "max_regression"}, "rerun": {"study", "trial", "times"}}
    return {
        **spec.model_dump(include=wanted),
        "pairs": spec.confirm.pairs if spec.confirm else None,
        "first": spec.first,
        "deployer": spec.deployer,
    }
