"""Which trial is best, and what it gains over the engine's own default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.results.confirmed import verdict_text
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.wording import measured, percent
from optuna_tuner.search.confirmation import Confirmation
from optuna_tuner.search.gain import Estimate
from optuna_tuner.spec.goals import Objective
from optuna_tuner.store.records import AttemptKind

UNCONFIRMED = "One run each: a single measurement, not confirmed by repeats."
ENDED = (TrialState.FEASIBLE, TrialState.INFEASIBLE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best feasible trial; the Pareto front, by number, where there are several objectives.

    No trial is a normal outcome: `text` says so, and `nearest` is the trial that broke its constraints least.
    """

    trials: tuple[TrialView, ...]
    nearest: TrialView | None
    text: str

    @property
    def trial(self) -> TrialView | None:
        """The one to recommend: of a front, the best in the first objective."""
        return self.trials[0] if self.trials else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """One objective of the best trial against the baseline's. `share` is positive when the best is better.

    Where they were confirmed, all figures are those of the confirming runs, and `low` and `high` hold the share.
    """

    metric: str
    best: float
    baseline: float
    share: float | None  # None when the baseline is zero: there is nothing to relate to
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The gains, one for each objective, and what they mean. No gains: `text` says why."""

    gains: tuple[Gain, ...]
    text: str

    @property
    def share(self) -> float | None:
        """The gain in the first objective; None when it is not known."""
        return self.gains[0].share if self.gains else None


def best_of(
    trials: Sequence[TrialView], objectives: Sequence[Objective], confirmation: Confirmation | None = None
) -> Best:
    """The best feasible trials of the search; the one that was confirmed comes first. Of equals, the earlier one.

    A simpler configuration than the search found was confirmed by runs of its own: the first one is its trial.
    """
    searched = [trial for trial in trials if not trial.kind.again]
    front = _front([trial for trial in searched if trial.feasible], objectives)
    ordered = tuple(sorted(front, key=lambda trial: (_costs(trial, objectives)[0], trial.number)))
    if confirmation is not None:
        ordered = _led(ordered, trials, confirmation.winner.id, single=len(objectives) == 1)
    nearest = None if ordered else _nearest(searched)
    return Best(trials=ordered, nearest=nearest, text=_text(ordered, nearest, searched, objectives, confirmation))


def _led(
    front: tuple[TrialView, ...], trials: Sequence[TrialView], winner: str, *, single: bool
) -> tuple[TrialView, ...]:
    """Measured again, another one may have turned out to be the best."""
    first = tuple(trial for trial in trials if trial.attempt_id == winner)
    return first if single else (*first, *(trial for trial in front if trial.attempt_id != winner))


def baseline_of(trials: Sequence[TrialView]) -> TrialView | None:
    """The engine's own default: its last try, or the one that gave numbers."""
    tries = [trial for trial in trials if trial.kind is AttemptKind.BASELINE]
    return next((trial for trial in reversed(tries) if trial.state in ENDED), tries[-1] if tries else None)


def compare(
    best: Best,
    baseline: TrialView | None,
    objectives: Sequence[Objective],
    confirmation: Confirmation | None = None,
    simplified: str = "",
) -> Comparison:
    """The gain over the baseline in the sense of each objective's direction, or why there is none.

    `simplified` says what came of leaving flags out.
    """
    missing = _missing(best, baseline, objectives)
    if missing or best.trial is None or baseline is None:
        return Comparison(gains=(), text=missing)
    estimates = confirmation.estimates if confirmation else (None,) * len(objectives)
    gains = tuple(
        _gain(best.trial, baseline, place, objective) if found is None else _confirmed(objective, found)
        for place, (objective, found) in enumerate(zip(objectives, estimates, strict=True))
    )
    worth = f"{_worth(objectives, confirmation)} {simplified}".strip()
    return Comparison(gains=gains, text=_gain_text(best.trial, baseline, gains, worth))


def _confirmed(objective: Objective, found: Estimate) -> Gain:
    """The confirming figures in place of the lucky ones that the search saw."""
    return Gain(
        metric=objective.metric,
        best=found.winner,
        baseline=found.default,
        share=found.share,
        low=found.low,
        high=found.high,
    )


def _worth(objectives: Sequence[Objective], confirmation: Confirmation | None) -> str:
    """What a figure is worth: the verdict where there is one."""
    return verdict_text(confirmation, objectives) if confirmation and confirmation.pairs else UNCONFIRMED


def value_of(trial: TrialView, place: int, objective: Objective) -> float | None:
    """The trial's value of one objective; an infeasible trial may have it among its metrics only."""
    return trial.values[place] if place < len(trial.values) else trial.metrics.get(objective.metric)


def _costs(trial: TrialView, objectives: Sequence[Objective]) -> tuple[float, ...]:
    signs = (1.0 if objective.direction == "minimize" else -1.0 for objective in objectives)
    return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))


def _front(feasible: Sequence[TrialView], objectives: Sequence[Objective]) -> list[TrialView]:
    costs = {trial.attempt_id: _costs(trial, objectives) for trial in feasible}
    if len(objectives) == 1:
        return sorted(feasible, key=lambda trial: (costs[trial.attempt_id], trial.number))[:1]
    return [
        trial
        for trial in feasible
        if not any(_dominates(costs[other.attempt_id], costs[trial.attempt_id]) for other in feasible)
    ]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= its for mine, its in zip(one, other, strict=True))


def _nearest(trials: Sequence[TrialView]) -> TrialView | None:
    broke = [trial for trial in trials if trial.state is TrialState.INFEASIBLE and trial.excess > 0]
    # A trial that was measured comes before one that crashed: the violations of a crash are made up.
    return min(broke, key=lambda trial: (not trial.metrics, trial.excess, trial.number), default=None)


def _text(
    best: Sequence[TrialView],
    nearest: TrialView | None,
    trials: Sequence[TrialView],
    objectives: Sequence[Objective],
    confirmation: Confirmation | None,
) -> str:
    worth = _worth(objectives, confirmation)
    if len(objectives) > 1 and best:
        numbers = ", ".join(str(trial.number) for trial in sorted(best, key=lambda trial: trial.number or 0))
        return f"Pareto front of {len(best)} feasible trials: {numbers}. {worth}"
    if best:
        metric, found = objectives[0].metric, confirmation.estimates[0] if confirmation else None
        value = best[0].values[0] if found is None else found.winner
        return f"Trial {best[0].number}: {metric} = {measured(metric, value)}. {worth}"
    ended = sum(trial.state in ENDED for trial in trials)
    if not ended:
        return "No trial has been measured yet."
    return f"Nothing feasible among {ended} trials." + (_nearest_text(nearest) if nearest else "")


def _nearest_text(nearest: TrialView) -> str:
    if not nearest.metrics:
        return f" None could be measured; the last word of {nearest.name}: {nearest.reason or nearest.cause}."
    broken = [f'"{name}" by {percent(value)}' for name, value in nearest.constraints.items() if value > 0]
    return f" Least infeasible: {nearest.name}, which breaks {' and '.join(broken)}."


def _missing(best: Best, baseline: TrialView | None, objectives: Sequence[Objective]) -> str:
    if baseline is None:
        return "No gain is known: the engine's default was not asked for (baseline: false)."
    if baseline.state in (TrialState.QUEUED, TrialState.RUNNING):
        return "No gain is known yet: the engine's default has not been measured."
    if any(value_of(baseline, place, objective) is None for place, objective in enumerate(objectives)):
        why = baseline.cause.value if baseline.cause else baseline.state.value
        return f"No gain is known: the engine's default gave no numbers ({why})."
    return "" if best.trial else "No gain: nothing feasible was found."


def _gain(best: TrialView, baseline: TrialView, place: int, objective: Objective) -> Gain:
    ours, theirs = best.values[place], value_of(baseline, place, objective) or 0.0
    better = ours - theirs if objective.direction == "maximize" else theirs - ours
    return Gain(
        metric=objective.metric, best=ours, baseline=theirs, share=better / abs(theirs) if theirs != 0 else None
    )


def _gain_text(best: TrialView, baseline: TrialView, gains: Sequence[Gain], worth: str) -> str:
    if best.attempt_id == baseline.attempt_id:
        return "No gain: no feasible trial beats the engine's default."
    said = [
        f"{gain.metric} {measured(gain.metric, gain.best)} against {measured(gain.metric, gain.baseline)}"
        + (f" ({compared(gain.share)})" if gain.share is not None else "")
        for gain in gains
    ]
    state = "" if baseline.feasible else f" The default itself is {baseline.state}{_broken(baseline)}."
    return f"Best ({best.name}) over the engine's default ({baseline.name}): {'; '.join(said)}.{state} {worth}"


def compared(share: float) -> str:
    """A gain in words: 0.271 is "27.1 % better"."""
    return f"{abs(share) * 100:.1f} % {'better' if share >= 0 else 'worse'}"


def _broken(trial: TrialView) -> str:
    names = [name for name, value in trial.constraints.items() if value > 0]
    return f": it breaks {', '.join(names)}" if names else ""
