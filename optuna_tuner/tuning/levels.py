"""The load of a trial: the levels that the study gives, or those that a search for the most load asks for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from optuna_tuner.clock import Deadline, now
from optuna_tuner.contracts import Target
from optuna_tuner.errors import DegradedError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.search.attained import has_figures, probes_of
from optuna_tuner.search.load import LoadSearch, Probe, sustained
from optuna_tuner.spec.goals import Goals
from optuna_tuner.tuning.deployment import Server
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.servers import Servers
from optuna_tuner.values import Load, Measurement

REPORTS = 3  # loads at which the figures are taken at most, where the client that reports them judges otherwise


def target(server: Server, journal: Journal) -> Target:
    """What the benchmark shall load. The seed is the attempt's own: no two attempts share prompts."""
    setting = server.setting
    return Target(
        endpoint=server.endpoint,
        model=setting.model,
        folder=journal.folder,
        seed=zlib.crc32(journal.attempt.id.encode()),
        slo=setting.spec.goals.request_slo.value(),
        success_rate=setting.spec.limits.success_rate,
        slot=setting.slot,
        service_type=setting.spec.engine.kind,
        site=setting.parts.deployer.client_site(server.handle),
    )


def levels(server: Server, journal: Journal, servers: Servers, deadline: Deadline) -> Iterator[Measurement]:
    """Measure level after level. Each is to be kept in the journal before the next one is asked for.

    Raises what the benchmark raises. A search that runs out of time ends with what it knows, if it knows anything.
    """
    sought = server.setting.parts.benchmark.searched()
    if sought is None:
        yield from server.setting.parts.benchmark.run(target(server, journal), deadline)
        return
    journal.sought = sought
    yield from _Search(server, journal, sought, servers.most_sustained(sought.metric)).run(deadline)


class _Search:
    """The search for the most load of one trial."""

    def __init__(self, server: Server, journal: Journal, sought: LoadRange, rival: float | None) -> None:
        self._benchmark = server.setting.parts.benchmark
        self._goals, self._journal, self._sought = server.setting.spec.goals, journal, sought
        self._target = target(server, journal)
        self._search = LoadSearch(range=sought, rival=rival, rough=_wants_most(self._goals, sought))
        self._in_time = True

    def run(self, deadline: Deadline) -> Iterator[Measurement]:
        try:
            yield from self._benchmark.probe(self._target, self._wanted(deadline), deadline)
            yield from self._reports(deadline)
        except DegradedError:
            if not deadline.passed or not self._journal.measurements:
                raise
            self._in_time = False
        told = self._search.told(self._probes(), in_time=self._in_time)
        if not any(has_figures(self._goals, each.metrics) for each in self._journal.measurements):
            raise DegradedError(f"no load could be measured: {told}")
        self._journal.load_search = "; figures taken at ".join([told, *self._figures_at()])

    def _figures_at(self) -> list[str]:
        """The loads at which another client than that of the probes took the figures, in one line; none elsewhere."""
        probed = any(each.probe for each in self._journal.measurements)
        taken = [f"{each.load.value:g}" for each in self._journal.measurements if probed and not each.probe]
        return [", then ".join(taken)] if taken else []

    def _probes(self) -> Sequence[Probe]:
        """What the search knows. The figures of a load that was found come after it and are no part of it."""
        probing = [each for each in self._journal.measurements if each.probe] or self._journal.measurements
        return probes_of(self._goals, probing)

    def _wanted(self, deadline: Deadline) -> Iterator[Load]:
        """What the search asks for, while there is time for one more that takes as long as the longest so far."""
        longest_s = 0.0
        while (load := self._search.next(self._probes())) is not None:
            if deadline.left_s < longest_s:
                self._in_time = False
                return
            began = now()
            yield load
            longest_s = max(longest_s, now() - began)

    def _reports(self, deadline: Deadline) -> Iterator[Measurement]:
        """The figures at the load that was found; at the next lower one, where they break the SLO after all."""
        value = sustained(self._probes())
        load = None if value is None else self._sought.at(value)
        for _ in range(REPORTS):
            found = None if load is None else self._benchmark.report(self._target, load, deadline)
            if found is None:
                return
            yield found
            kept = sustained(probes_of(self._goals, [found])) is not None
            load = None if kept or found.load == self._sought.low else self._sought.below(found.load)


def _wants_most(goals: Goals, sought: LoadRange) -> bool:
    """Whether a server that sustains less is worse for it: then it need not be known exactly how much less."""
    wanted = goals.objectives[0]
    return len(goals.objectives) == 1 and (wanted.metric, wanted.direction) == (sought.metric, "maximize")
