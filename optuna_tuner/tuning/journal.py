"""What is written down while a trial runs: phases, measurements, the server's own words."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from optuna_tuner.clock import now
from optuna_tuner.errors import BenchmarkError, StoreError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.search.attained import has_figures
from optuna_tuner.search.verdict import score
from optuna_tuner.spec.goals import Goals
from optuna_tuner.store.artifacts import LAUNCH_FILE, LEVELS_FILE, LOOKS_FILE, MACHINE_FILE, write_json, write_text
from optuna_tuner.store.codec import encode
from optuna_tuner.store.records import AttemptRecord, Outcome
from optuna_tuner.store.store import Store
from optuna_tuner.values import Drift, Json, Measurement, Params, Phase, Reference, Request, Scalar

SERVER_LOG = "server.log"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Journal:
    """The record of one attempt, in its folder and in the database."""

    store: Store
    attempt: AttemptRecord
    folder: Path
    measurements: list[Measurement] = field(default_factory=list)
    phases_s: dict[Phase, float] = field(default_factory=dict)
    intermediate: dict[int, float] = field(default_factory=dict)
    effective_config: Mapping[str, Scalar] = field(default_factory=dict)
    drift: Drift | None = None
    reference: Reference | None = None
    identity: Mapping[str, Scalar] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    kv_cache_retractions: int | None = None
    sought: LoadRange | None = None  # where the most load is looked for; None where the levels are given
    load_search: str = ""

    def __post_init__(self) -> None:
        """A repeated configuration waits in the queue from the end of its earlier run to its claim."""
        claimed_at = self.attempt.claimed_at or self.attempt.created_at
        self.phases_s[Phase.QUEUE] = max(0.0, (claimed_at - self.attempt.created_at).total_seconds())

    @property
    def params(self) -> Params:
        """The attempt's parameters; none before the sampler was asked."""
        return self.attempt.params or Params()

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Say that the attempt enters a phase, and keep how long it took."""
        self._say(phase)
        began = now()
        try:
            yield
        finally:
            self.phases_s[phase] = self.phases_s.get(phase, 0.0) + now() - began

    def _say(self, phase: Phase) -> None:
        try:
            self.store.attempts.enter(self.attempt.id, phase)
        except StoreError as error:  # news for those who watch: a server must be taken down without it
            logger.warning("phase %s of attempt %s is not noted: %s", phase, self.attempt.id, error)

    def launched(self, request: Request) -> None:
        """Keep what is sent to the deployer."""
        write_json(self.folder / LAUNCH_FILE, request)

    def runs_on(self, surroundings: Mapping[str, Json]) -> None:
        """Keep where it runs."""
        write_json(self.folder / MACHINE_FILE, surroundings)

    def server_said(self, log: str) -> None:
        """Keep the server's log."""
        write_text(self.folder / SERVER_LOG, log)

    def looked(self, lines: Sequence[Mapping[str, Json]]) -> None:
        """Keep what was seen beside a load level, a line a look."""
        self._append(LOOKS_FILE, lines)

    def _append(self, name: str, lines: Sequence[object]) -> None:
        try:
            with (self.folder / name).open("a", encoding="ascii") as stream:
                stream.writelines(f"{encode(line)}\n" for line in lines)
        except OSError as error:  # a full disk must not keep a trial from its result
            logger.warning("%s of attempt %s is not kept: %s", name, self.attempt.id, error)

    def keep(self, measurement: Measurement) -> None:
        """Keep one load level's numbers, in the folder too. Raises BenchmarkError for one that is not finite."""
        wrong = [name for name, value in measurement.metrics.items() if not isfinite(value)]
        if wrong:
            raise BenchmarkError(f"the benchmark gave no finite number for {', '.join(wrong)}")
        self.measurements.append(measurement)
        self._append(LEVELS_FILE, [measurement])

    def so_far(self, goals: Goals) -> float | None:
        """The first objective, by what was measured until now; None while nothing has all figures."""
        if not any(has_figures(goals, each.metrics) for each in self.measurements):
            return None
        return score(goals, self.measurements, self.sought).values[0]

    def complete(self, outcome: Outcome) -> Outcome:
        """The outcome with all that was written down."""
        return replace(
            outcome,
            measurements=tuple(self.measurements),
            phases_s=dict(self.phases_s),
            effective_config=dict(self.effective_config),
            intermediate=dict(self.intermediate),
            drift=self.drift,
            reference=self.reference,
            identity=dict(self.identity),
            remarks=self.remarks,
            load_search=self.load_search,
            kv_cache_retractions=self.kv_cache_retractions,
        )
