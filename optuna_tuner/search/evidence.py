"""What Optuna's history says of the configurations that were tried, each as the search needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from optuna_tuner.search.encoding import Configuration, is_comparable
from optuna_tuner.search.verdict import SERVER_RUNS
from optuna_tuner.spec.space import Parameter
from optuna_tuner.values import Scalar

KIND = "kind"  # why it was tried, a member of AttemptKind, as an attribute of the trial
EFFECTIVE_CONFIG = "effective_config"  # what a trial's server told of itself, as an attribute of the trial
TOOK_S = "took_s"  # seconds for which a trial held its slot, as an attribute of the trial
FAR = 2.0  # a constraint's logarithm is cut here: how badly it is broken beyond e squared teaches nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One configuration that was tried.

    Attributes:
        configuration: all parameters that apply, also those that were left to the engine.
        ran: whether its server ran and was measured.
        values: the objectives, larger is better; None where it did not run.
        excesses: by constraint, relative to its bound; zero or less is kept. Empty where it did not run.
        took_s: seconds of the trial, from the start of its server on; None where nobody said.

    """

    configuration: Configuration
    ran: bool
    values: tuple[float, ...] | None
    excesses: Mapping[str, float]
    took_s: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether it ran and kept every constraint."""
        return self.ran and all(excess <= 0 for excess in self.excesses.values())


def bounded(excess: float) -> float:
    """The logarithm of metric over bound, of a constraint that exceeds its bound by such a share."""
    return math.log(min(max(1 + excess, math.exp(-FAR)), math.exp(FAR)))


def undominated(evidence: Sequence[Evidence]) -> Sequence[Evidence]:
    """The feasible ones that none of them beats, being nowhere worse and somewhere better."""
    feasible = [each.values or () for each in evidence if each.feasible]

    def is_beaten(values: Sequence[float]) -> bool:
        return any(other != values and all(a >= b for a, b in zip(other, values, strict=True)) for other in feasible)

    return [each for each in evidence if each.feasible and not is_beaten(each.values or ())]


def evidence_of(study: Study, space: Mapping[str, Parameter], default: Configuration) -> Sequence[Evidence]:
    """Every trial that ended by its configuration; what the machine or a user ended says nothing.

    What a trial leaves to the engine, the baseline above all, is filled in by what its server told of itself, and by
    `default`. A trial that is still incomplete then is left out: nobody knows where in the space it lies.
    """
    signs = [1.0 if direction is StudyDirection.MAXIMIZE else -1.0 for direction in study.directions]
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    found = ((trial, whole(trial, space, default)) for trial in ended)
    names = study.metric_names or ()
    return [_evidence(trial, where, signs, names) for trial, where in found if where is not None]


def pending(study: Study, space: Mapping[str, Parameter], number: int) -> Sequence[Configuration]:
    """The configurations that others are trying now."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    found = (whole(trial, space, {}) for trial in running if trial.number != number)
    return [each for each in found if each]


def whole(trial: FrozenTrial, space: Mapping[str, Parameter], default: Configuration) -> Configuration | None:
    """The whole configuration of a trial; None where a parameter is neither given nor known otherwise."""
    known = {**default, **trial.user_attrs.get(EFFECTIVE_CONFIG, {}), **trial.params}
    chosen: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if parameter.applies(chosen):
            if name not in known or not is_comparable(parameter, known[name]):
                return None
            chosen[name] = known[name]
    return chosen


def _evidence(trial: FrozenTrial, where: Configuration, signs: Sequence[float], names: Sequence[str]) -> Evidence:
    values = _values(trial, names)
    if values is None or trial.constraints.get(SERVER_RUNS, 0.0) > 0:
        return Evidence(configuration=where, ran=False, values=None, excesses={})
    better = tuple(sign * value for sign, value in zip(signs, values, strict=True))
    took_s = trial.user_attrs.get(TOOK_S)
    return Evidence(configuration=where, ran=True, values=better, excesses=dict(trial.constraints), took_s=took_s)


def _values(trial: FrozenTrial, names: Sequence[str]) -> Sequence[float] | None:
    """The objectives; of a trial that a pruner gave up, the last that was told of them."""
    if trial.state is TrialState.COMPLETE:
        return list(trial.values)
    last = max(trial.intermediate_values, default=None)
    if last is not None:
        return [trial.intermediate_values[last]]
    told = [trial.user_attrs[name] for name in names if name in trial.user_attrs]  # Optuna takes one objective only
    return told if told and len(told) == len(names) else None
