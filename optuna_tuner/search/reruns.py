"""The best of a search, measured again before one of them is called the winner.

The best of many noisy measurements was mostly lucky. So the best few are measured once more, and a second time where
they are too close to tell apart; the winner is chosen by the mean of all its runs. That choice may still favour the
lucky one, so none of these figures is reported as the gain: the pairs that follow give it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.spec.confirm import MOST_RERUNS, Confirm
from optuna_tuner.spec.goals import Objective
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Verdict
from optuna_tuner.values import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the best configurations: its measured runs, and how many reruns of it were begun."""

    params: Params
    runs: tuple[AttemptRecord, ...]
    reruns: int

    @property
    def first(self) -> AttemptRecord:
        """The run by which the search came to it."""
        return self.runs[0]

    @property
    def broken(self) -> float:
        """The share of its runs that did not work, or broke a constraint."""
        return sum(not _is_feasible(run) for run in self.runs) / len(self.runs)

    @property
    def values(self) -> tuple[float, ...]:
        """Of the first objective, run by run."""
        return tuple(run.outcome.values[0] for run in self.runs if run.outcome and _has_values(run))


def settings(spec: StudySpec) -> Confirm:
    """The section `confirm`; its defaults for a study that was confirmed once, and whose file no longer has it."""
    return spec.confirm or Confirm()


def best_few(spec: StudySpec, attempts: Sequence[AttemptRecord]) -> Sequence[Candidate]:
    """The best configurations of the search by what the search saw, the best first; none where the default is best.

    So they stay the same, whatever their reruns give. A gate has one, its winner, whatever it gives now.
    """
    if spec.gate is not None:
        return _gated(attempts)
    objective = spec.goals.objectives[0]
    searched = [each for each in attempts if each.kind in {AttemptKind.FIRST, AttemptKind.SEARCH}]
    found: dict[str, list[AttemptRecord]] = {}
    for attempt in searched:
        if attempt.params is not None and _is_feasible(attempt):
            found.setdefault(attempt.params.key, []).append(attempt)
    ranked = sorted(found.values(), key=lambda runs: (_cost(_values(runs), objective), runs[0].number or 0))
    default = [each for each in attempts if each.kind is AttemptKind.BASELINE and _is_feasible(each)]
    if ranked and default and _cost(_values(default), objective) <= _cost(_values(ranked[0]), objective):
        return ()
    return [_candidate(runs, attempts) for runs in ranked[: settings(spec).top]]


def _gated(attempts: Sequence[AttemptRecord]) -> Sequence[Candidate]:
    """By its last try; none before it was begun."""
    runs = [each for each in attempts if each.kind is AttemptKind.FIRST]
    return [_candidate(runs[-1:], attempts)] if runs else ()


def winner(spec: StudySpec, candidates: Sequence[Candidate]) -> Candidate | None:
    """The best by the mean of all its runs, among those that broke the fewest constraints; of equals the earlier."""
    if len(candidates) == 1:
        return candidates[0]
    objective = spec.goals.objectives[0]
    return min(
        candidates, key=lambda each: (each.broken, _cost(each.values, objective), each.first.number or 0), default=None
    )


def to_rerun(spec: StudySpec, candidates: Sequence[Candidate]) -> Candidate | None:
    """Who is to be measured again next, when all reruns that were begun have ended; None when it is enough."""
    if len(candidates) < 2:  # noqa: PLR2004  there is nothing to choose between
        return None
    close = (each for each in _close(spec, candidates) if each.reruns < MOST_RERUNS)
    return fresh(candidates) or min(close, key=lambda each: len(each.runs), default=None)


def fresh(candidates: Sequence[Candidate]) -> Candidate | None:
    """The first that was not measured again yet."""
    if len(candidates) < 2:  # noqa: PLR2004  as above
        return None
    return next((each for each in candidates if not each.reruns), None)


def _close(spec: StudySpec, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The leader and those that the noise does not tell from it; none where it would not matter which is taken."""
    leader, noise = winner(spec, candidates), _noise(candidates)
    if leader is None or noise is None:
        return ()
    rivals = [each for each in candidates if each is not leader and each.broken == leader.broken]
    near = [each for each in rivals if _is_close(leader, each, noise, settings(spec).min_gain)]
    return [leader, *near] if near else ()


def _is_close(leader: Candidate, other: Candidate, noise: float, min_gain: float) -> bool:
    apart = abs(_log_mean(leader.values) - _log_mean(other.values))
    error = noise * math.sqrt(1 / len(leader.values) + 1 / len(other.values))
    return apart <= error and apart + 2 * error > min_gain


def _noise(candidates: Sequence[Candidate]) -> float | None:
    """The relative standard deviation of one run, from those that were measured more than once."""
    again = [each.values for each in candidates if len(each.values) > 1]
    if not again or any(value <= 0 for each in candidates for value in each.values):
        return None
    squares = sum((math.log(value) - _log_mean(values)) ** 2 for values in again for value in values)
    return math.sqrt(squares / sum(len(values) - 1 for values in again))


def _log_mean(values: Sequence[float]) -> float:
    return math.fsum(map(math.log, values)) / len(values)


def _candidate(runs: Sequence[AttemptRecord], attempts: Sequence[AttemptRecord]) -> Candidate:
    params = runs[0].params or Params()
    again = [each for each in attempts if each.kind is AttemptKind.RERUN and each.params == params]
    gave = [each for each in again if gave_result(each)]
    return Candidate(params=params, runs=(*runs, *gave), reruns=sum(each.retry_of is None for each in again))


def gave_result(attempt: AttemptRecord) -> bool:
    """Whether the configuration itself ended it: not the machine, a user or a dead worker."""
    outcome = attempt.outcome
    return attempt.state is AttemptState.ENDED and outcome is not None and outcome.verdict is not Verdict.FAIL


def _has_values(attempt: AttemptRecord) -> bool:
    return attempt.outcome is not None and attempt.outcome.verdict is Verdict.COMPLETE and bool(attempt.outcome.values)


def _is_feasible(attempt: AttemptRecord) -> bool:
    return attempt.outcome is not None and attempt.outcome.feasible and attempt.outcome.same_as is None


def _values(runs: Sequence[AttemptRecord]) -> Sequence[float]:
    return [run.outcome.values[0] for run in runs if run.outcome]


def _cost(values: Sequence[float], objective: Objective) -> float:
    """The mean, less is better."""
    mean = math.fsum(values) / len(values)
    return mean if objective.direction == "minimize" else -mean
