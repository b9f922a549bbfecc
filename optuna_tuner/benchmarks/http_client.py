"""The load client: closed loop or open loop over one server, in this process, on one event loop.

aiohttp carries it. httpx was tried first: with 1,000 streams of 50 ms between tokens on two cores its first tokens
were seen 438 ms late on average, aiohttp's 0.9 ms, for half the CPU (docs/reference/load-clients.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from random import Random

import aiohttp

from optuna_tuner.benchmarks.http_record import LevelRecord
from optuna_tuner.benchmarks.http_stream import CHAT, Sample, ask, body
from optuna_tuner.benchmarks.prompts import Prompt
from optuna_tuner.clock import Deadline, now
from optuna_tuner.errors import DegradedError
from optuna_tuner.http import authorization
from optuna_tuner.values import Endpoint, Json, Load, LoadKind

STOP_LOOK_S = 0.1
START_GAP_S = 0.001  # between the first requests of two users: a burst would wait for this client, not for the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One load level: how many requests, for how long, and how. No request starts after `max_time_s`."""

    load: Load
    requests: int
    max_time_s: float
    request_timeout_s: float
    failures_allowed: float = inf
    reuse_connections: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)


def send(
    endpoint: Endpoint,
    plan: Plan,
    prompts: Iterator[Prompt],
    deadline: Deadline,
    seed: str,
    record: LevelRecord | None = None,
) -> list[Sample]:
    """Send one level's requests and return them in the order of their start; the record notes each when it has ended.

    No request starts any more once more than `failures_allowed` have failed. Raises StoppedError when asked to, within
    a fraction of a second; DegradedError when the deadline passes first: the server is too slow for the user's limit.
    """
    return asyncio.run(_Level(endpoint, plan, prompts, seed, record).run(deadline))


class _Level:
    """One level while it runs."""

    def __init__(
        self, endpoint: Endpoint, plan: Plan, prompts: Iterator[Prompt], seed: str, record: LevelRecord | None
    ) -> None:
        self._endpoint = endpoint
        self._record = record
        self._plan = plan
        self._prompts = prompts
        self._random = Random(seed)  # noqa: S311  arrival times are no secret
        self._samples: list[Sample] = []
        self._began = 0.0
        self._failed = 0

    async def run(self, deadline: Deadline) -> list[Sample]:
        limit = aiohttp.ClientTimeout(total=self._plan.request_timeout_s)
        connector = aiohttp.TCPConnector(limit=0, force_close=not self._plan.reuse_connections)
        key = authorization(self._endpoint)
        async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=key) as session:
            self._began = now()
            work = asyncio.create_task(self._loop()(session))
            try:
                await self._watch(work, deadline)
            finally:
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work
        return self._samples

    async def _watch(self, work: asyncio.Task[None], deadline: Deadline) -> None:
        while not (await asyncio.wait([work], timeout=STOP_LOOK_S))[0]:
            deadline.check()
            if deadline.passed:
                done = sum(sample.ended > 0 for sample in self._samples)
                raise DegradedError(f"{self._plan.load}: out of time after {done} of {self._plan.requests} requests")
            if self._record is not None:
                await asyncio.to_thread(self._record.flush)  # a slow disk must not make a token late

    def _loop(self) -> Callable[[aiohttp.ClientSession], Coroutine[None, None, None]]:
        return self._closed if self._plan.load.kind is LoadKind.CONCURRENCY else self._open

    async def _closed(self, session: aiohttp.ClientSession) -> None:
        """So many users, each of whom sends the next request when the last one has ended."""
        async with asyncio.TaskGroup() as users:
            for _ in range(min(int(self._plan.load.value), self._plan.requests)):
                users.create_task(self._user(session))
                await asyncio.sleep(START_GAP_S)

    async def _user(self, session: aiohttp.ClientSession) -> None:
        while self._more(now()):
            await self._ask(session, now())

    async def _open(self, session: aiohttp.ClientSession) -> None:
        """Requests arrive on their own schedule, whether or not the server keeps up."""
        due = self._began
        async with asyncio.TaskGroup() as arrivals:
            while self._more(due):
                await asyncio.sleep(due - now())
                arrivals.create_task(self._ask(session, due))
                await asyncio.sleep(0)  # the request enters the list before the next one is due
                due += self._gap()

    def _gap(self) -> float:
        rate = self._plan.load.value
        return self._random.expovariate(rate) if self._plan.load.kind is LoadKind.REQUEST_RATE else 1 / rate

    def _more(self, start: float) -> bool:
        """Whether one more request may start then."""
        due, plan = start - self._began < self._plan.max_time_s, self._plan
        return due and len(self._samples) < plan.requests and self._failed <= plan.failures_allowed

    async def _ask(self, session: aiohttp.ClientSession, due: float) -> None:
        sample = Sample(prompt=next(self._prompts), due=due)
        self._samples.append(sample)
        payload = body(self._endpoint, sample.prompt, self._plan.extra)
        await ask(session, sample, self._endpoint.url + CHAT, payload)
        self._failed += bool(sample.error)
        if self._record is not None:
            self._record.note(sample)
