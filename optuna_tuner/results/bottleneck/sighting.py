"""What was seen at a trial's highest load, and at the one below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna_tuner.results.trials import TrialView
from optuna_tuner.search.attained import reported
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Load, LoadKind, Measurement, Metrics

FEWEST_LOOKS = 3  # of a load; fewer say little of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load, with the means of its repeats."""

    load: Load
    metrics: Metrics
    seen: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the hypotheses are tested on. `slots`: how many requests may run at once, where that is known."""

    engine: str
    client: str
    top: Level
    below: Level | None
    slots: float | None
    cores: int | None  # that the server has, where it computes on them
    retractions: int

    def seen(self, name: str, otherwise: float | None = None) -> float | None:
        """A figure of the highest load."""
        return self.top.seen.get(name, otherwise)

    @property
    def asked(self) -> float | None:
        """Requests that the load client kept in flight; None in an open loop."""
        return self.top.load.value if self.top.load.kind is LoadKind.CONCURRENCY else None

    @property
    def in_server(self) -> float | None:
        """Requests that the server says it has, on average; None where it does not tell."""
        running = self.seen("server_running_requests.mean")
        return None if running is None else running + (self.seen("server_waiting_requests.mean") or 0.0)

    @property
    def on_gpu(self) -> bool:
        """Whether GPUs were seen at work for it."""
        return "gpu_busy.mean" in self.top.seen


def sighting(spec: StudySpec, trial: TrialView, slots_flag: str | None) -> Sighting | None:
    """What is known of a trial; None where no load of it was measured to its end."""
    levels = _levels(trial)
    if not levels:
        return None
    machine = trial.machine
    cores = len(machine.cores) if machine and machine.cores and not machine.gpus else None
    return Sighting(
        engine=spec.engine.flags_of,
        client=spec.benchmark.kind,
        top=levels[-1],
        below=levels[-2] if len(levels) > 1 else None,
        slots=_slots(spec, trial, slots_flag),
        cores=cores,
        retractions=trial.kv_cache_retractions or 0,
    )


def _levels(trial: TrialView) -> Sequence[Level]:
    """By load, in the scenario and kind of load in which the trial was scored."""
    levels = reported(trial.measurements)
    scored = next((each for each in levels if str(each.load) == trial.level), levels[-1] if levels else None)
    alike = [each for each in levels if scored and _axis(each) == _axis(scored)]
    loads = sorted({each.load for each in alike}, key=lambda load: load.value)
    return [_mean_of(load, [each for each in alike if each.load == load]) for load in loads]


def _axis(level: Measurement) -> tuple[str, str]:
    return level.load.kind.value, level.load.scenario


def _mean_of(load: Load, levels: Sequence[Measurement]) -> Level:
    return Level(
        load=load, metrics=_means([each.metrics for each in levels]), seen=_means([each.seen for each in levels])
    )


def _means(figures: Sequence[Metrics]) -> Mapping[str, float]:
    shared = [name for name in figures[0] if all(name in each for each in figures)]
    return {name: sum(each[name] for each in figures) / len(figures) for name in shared}


def _slots(spec: StudySpec, trial: TrialView, flag: str | None) -> float | None:
    """As the server says, as it was sampled, or as the study fixes it."""
    for source in (trial.effective_config, trial.params, spec.fixed_flags):
        value = source.get(flag or "")
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
    return None
