"""What a GPU gives, and what a token costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import join
from typing import cast

from optuna_tuner.contracts import Engine, Kinds
from optuna_tuner.plugins import make
from optuna_tuner.results.report.document import Figure, ParetoPoint
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.search.attained import probes_of, reported, slo_of
from optuna_tuner.spec.space import params_of
from optuna_tuner.values import Launch, Measurement, Model

MS_PER_S = 1000.0
HOUR_S = 3600.0
THROUGHPUT = "output_throughput_tok_s"
SPEED = "tpot_ms.mean"
POWER = "gpu_power_w.mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of one GPU for an hour, in a currency of the user's."""

    gpu_hour: float
    currency: str = "USD"


class Launches:
    """The launches of a study's trials, rendered as their workers rendered them."""

    def __init__(self, study: StudyView, model: Model, kinds: Kinds) -> None:
        self._study, self._model = study, model
        self._found: dict[str, Launch] = {}
        self.engine = cast("Engine", make(kinds, "engines", study.spec.engine))

    def of(self, trial: TrialView) -> Launch | None:
        """None where it is not known any more on which machine it ran."""
        if trial.machine is None:
            return None
        if trial.attempt_id not in self._found:
            params = params_of(self._study.spec.space, trial.params)
            self._found[trial.attempt_id] = self.engine.render(self._model, params, trial.machine)
        return self._found[trial.attempt_id]

    def gpus(self, trial: TrialView) -> int:
        """How many GPUs its server had; 0 for none, and where that is not known any more."""
        launch = self.of(trial)
        return launch.gpus if launch else 0

    @property
    def by_gpu(self) -> bool:
        """Whether every trial that was measured used a GPU, so that all can be compared by GPU."""
        measured = [trial for trial in self._study.trials if trial.metrics]
        return bool(measured) and all(map(self.gpus, measured))

    def command(self, trial: TrialView) -> str:
        """What starts its server, ready for a shell, at an address that is only an example."""
        launch = self.of(trial)
        words = launch.argv if launch else ()
        return join(word.replace("{host}", "127.0.0.1").replace("{port}", "8000") for word in words)


def power_w(trial: TrialView) -> float | None:
    """What all GPUs of its server drew at the load at which it was scored, by NVML; None where that is not known."""
    scored = [each.seen.get(POWER) for each in reported(trial.measurements) if str(each.load) == trial.level]
    told = [each for each in scored if each is not None]
    return sum(told) / len(told) if told and len(told) == len(scored) else None


def efficiency(trial: TrialView, gpus: int, price: Price | None) -> tuple[Figure, ...]:
    """Of its load: tokens a second and GPU, what a user sees, and what output tokens take of energy and money."""
    found = []
    throughput, tpot_ms = trial.metrics.get(THROUGHPUT, 0.0), trial.metrics.get(SPEED, 0.0)
    power = power_w(trial)
    if throughput > 0 and gpus:
        found.append(Figure(name="output throughput of a GPU", value=throughput / gpus, unit="tok/s/GPU"))
    if tpot_ms > 0:
        found.append(Figure(name="speed for one user", value=MS_PER_S / tpot_ms, unit="tok/s/user"))
    if throughput > 0 and power:
        found.append(Figure(name="energy of an output token", value=power / throughput, unit="J/token"))
    if throughput > 0 and gpus and price:
        cost = price.gpu_hour * gpus / HOUR_S / throughput * 1e6
        found.append(
            Figure(name="cost of a million output tokens", value=cost, unit=f"{price.currency} per million tokens")
        )
    return tuple(found)


def pareto(study: StudyView, launches: Launches) -> tuple[ParetoPoint, ...]:
    """Every load of every trial of the search that has both figures; by GPU where all trials used some."""
    by_gpu = launches.by_gpu
    points = [
        _point(study, trial, level, launches.gpus(trial) if by_gpu else 1)
        for trial in study.trials
        if trial.number is not None and trial.same_as is None and not trial.kind.again
        for level in reported(trial.measurements)
        if _has_both(level)
    ]
    front = _front([(point.tok_s_user, point.tok_s) for point in points if point.keeps_slo])
    return tuple(
        point.model_copy(update={"front": point.keeps_slo and (point.tok_s_user, point.tok_s) in front})
        for point in points
    )


def _has_both(level: Measurement) -> bool:
    return level.metrics.get(THROUGHPUT, 0.0) > 0 and level.metrics.get(SPEED, 0.0) > 0


def _point(study: StudyView, trial: TrialView, level: Measurement, gpus: int) -> ParetoPoint:
    goals = study.spec.goals
    keeps = not slo_of(goals) or all(probe.excess <= 0 for probe in probes_of(goals, [level]))
    return ParetoPoint(
        trial=trial.number or 0,
        load=str(level.load),
        tok_s_user=MS_PER_S / level.metrics[SPEED],
        tok_s=level.metrics[THROUGHPUT] / gpus,
        keeps_slo=keeps and trial.feasible,
        front=False,
    )


def _front(figures: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """Those that no other one equals in both and beats in one; more is better."""
    front: set[tuple[float, float]] = set()
    highest = 0.0
    for speed, throughput in sorted(figures, reverse=True):
        if throughput > highest:
            front.add((speed, throughput))
            highest = throughput
    return front
