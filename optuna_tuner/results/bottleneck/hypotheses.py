"""The hypotheses, each a function: what it needs to be seen, and what it says then. Thresholds are named and few.

Where several hold, the first in `ORDER` is told: what would make the others' figures worthless comes first.
docs/explanation/bottleneck.md says the same in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna_tuner.results.bottleneck import Limit
from optuna_tuner.results.bottleneck.sighting import Level, Sighting
from optuna_tuner.results.wording import number
from optuna_tuner.values import LoadKind

FULL = 0.9  # share of a thing that counts as all of it
IDLE = 0.7  # share below which it has room
WAITS = 1.0  # requests in the queue, on average, that count as a queue
LOST = 0.5  # share of the requests in flight that the server must have seen
GROWS = 0.8  # of the growth of the load: throughput that grows so much is not limited yet
MORE = 1.2  # times as many running requests tell how a step's time grows
FLAT, STEEP = 0.3, 0.7  # growth of a step's time / growth of its requests
MEMORY_BOUND = 0.6  # share of the time in which GPU memory is read, from which on reading may be the limit
ONE_PROCESS = ("http", "genai_bench", "vllm_bench")  # clients that send from one Python process
THROUGHPUTS = ("output_throughput_tok_s", "request_rate_req_s")


@dataclass(frozen=True, slots=True)
class Finding:
    """A hypothesis that holds."""

    limit: Limit
    text: str
    evidence: tuple[str, ...]


Hypothesis = Callable[[Sighting], Finding | None]


def client(seen: Sighting) -> Finding | None:
    """The one process that sends and reads has no time left."""
    cores = seen.seen("client_cpu_cores.mean")
    if seen.client not in ONE_PROCESS or cores is None or cores < FULL:
        return None
    said = f"its busiest process used {number(cores)} of the one core that Python can use"
    return Finding(
        Limit.CLIENT, "The load client is at its own limit: these figures are its, not the server's.", (said,)
    )


def network(seen: Sighting) -> Finding | None:
    """Requests that the client has in flight, and the server has not."""
    asked, has, cores = seen.asked, seen.in_server, seen.seen("client_cpu_cores.mean")
    if asked is None or has is None or cores is None or cores > IDLE:
        return None
    if has > LOST * asked or asked - has < WAITS:
        return None
    evidence = (
        f"{number(asked)} requests were in flight, and the server had {number(has)} of them on average",
        f"the load client's busiest process used {number(cores)} of a core",
    )
    text = (
        "Requests spend most of their time between the client and the server's scheduler: a network, a proxy, or HTTP."
    )
    return Finding(Limit.NETWORK, text, evidence)


def memory_capacity(seen: Sighting) -> Finding | None:
    """The KV cache is full, and somebody waits or was thrown out for it."""
    use, lost = seen.seen("server_kv_cache_use.max"), seen.seen("server_preemptions") or 0.0
    full = use is not None and use >= FULL and _waiting(seen) >= WAITS
    if not lost and not full and not seen.retractions:
        return None
    evidence = [f"the KV cache was up to {_share(use)} full"] if use is not None else []
    evidence += [f"{number(lost)} requests lost their place in it at this load"] if lost else []
    evidence += [f"{seen.retractions} did in the whole trial"] if seen.retractions and not lost else []
    evidence += _queue(seen)
    return Finding(Limit.MEMORY_CAPACITY, "The KV cache has no room for more requests.", tuple(evidence))


def none(seen: Sighting) -> Finding | None:
    """Nobody waits, and more load gave more in proportion."""
    grown = _growth(seen)
    if grown is None or _waiting(seen) >= WAITS:
        return None
    by, name = grown
    if seen.top.load.kind is LoadKind.CONCURRENCY and seen.below is not None:
        wanted = seen.top.load.value / seen.below.load.value
        if by - 1 < GROWS * (wanted - 1):
            return None
        said = f"{number(wanted)} times the load gave {number(by)} times the {name}"
    elif seen.top.metrics.get("request_rate_req_s", 0.0) < FULL * seen.top.load.value:
        return None
    else:
        said = f"the server kept up with {number(seen.top.load.value)} requests a second"
    return Finding(Limit.NONE, "Nothing is exhausted at this load.", (said,))


def queueing(seen: Sighting) -> Finding | None:
    """Requests wait though neither the KV cache is full nor the machine at its limit."""
    use, running = seen.seen("server_kv_cache_use.max"), seen.seen("server_running_requests.max")
    room = use is None or use < FULL
    if running is None or _waiting(seen) < WAITS or not room or _full_cores(seen) or _full_gpu(seen):
        return None
    evidence = _queue(seen)
    if seen.slots is not None and running >= seen.slots:
        evidence.append(f"as many ran as may, {number(seen.slots)}")
    elif use is None:
        return None  # it may be the KV cache as well
    evidence += [f"the KV cache was at most {_share(use)} full"] if use is not None else []
    return Finding(
        Limit.QUEUEING, "Requests wait for a place, and the server would have room for more.", tuple(evidence)
    )


def cpu(seen: Sighting) -> Finding | None:
    """A server on CPU cores that uses all of them; or GPUs that wait for one busy process."""
    if not seen.on_gpu:
        used = _full_cores(seen)
        return (
            Finding(Limit.CPU, "The server computes on CPU cores, and there are no more to use.", used)
            if used
            else None
        )
    busy, process = seen.seen("gpu_busy.mean", 1.0) or 0.0, seen.seen("server_busiest_process_cores.mean", 0.0) or 0.0
    if busy >= IDLE or process < FULL:
        return None
    evidence = (
        f"the GPUs worked {_share(busy)} of the time",
        f"the server's busiest process used {number(process)} cores",
    )
    return Finding(Limit.CPU, "The GPUs wait for a process of the server.", evidence)


def gpu(seen: Sighting) -> Finding | None:
    """Busy GPUs: whether arithmetic or reading takes the time shows in how a step's time grows with its requests."""
    used = _full_gpu(seen)
    grows, reads = _step_growth(seen), seen.seen("gpu_memory_busy.mean")
    if not used or (grows is None and reads is None):
        return None
    evidence = list(used)
    if grows is not None:
        evidence.append(f"a token took {_share(grows)} of what its step's requests grew by longer")
    flat = grows <= FLAT if grows is not None else (reads or 0.0) >= MEMORY_BOUND
    steep = grows is None or grows >= STEEP
    if flat:
        return Finding(
            Limit.MEMORY_BANDWIDTH, "The GPUs read weights and KV cache for most of a step.", tuple(evidence)
        )
    if steep and (reads is None or reads < MEMORY_BOUND):
        return Finding(
            Limit.COMPUTE, "The GPUs' arithmetic is the limit: a step takes longer with each request.", tuple(evidence)
        )
    return None


ORDER: Sequence[Hypothesis] = (client, network, memory_capacity, none, queueing, cpu, gpu)


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _waiting(seen: Sighting) -> float:
    return seen.seen("server_waiting_requests.mean") or 0.0


def _queue(seen: Sighting) -> list[str]:
    waits, runs = seen.seen("server_waiting_requests.mean"), seen.seen("server_running_requests.mean")
    if waits is None or runs is None:
        return []
    return [f"{number(waits)} requests waited in its queue on average, {number(runs)} ran"]


def _full_cores(seen: Sighting) -> tuple[str, ...]:
    """What says that all cores are used; empty where they are not, or where the server has GPUs."""
    used = seen.seen("server_cpu_cores.mean")
    if seen.on_gpu or used is None or seen.cores is None or used < FULL * seen.cores:
        return ()
    return (f"its processes used {number(used)} of {seen.cores} core{'s' * (seen.cores > 1)}",)


def _full_gpu(seen: Sighting) -> tuple[str, ...]:
    """What says that the GPUs had no pause."""
    busy, reads = seen.seen("gpu_busy.mean"), seen.seen("gpu_memory_busy.mean")
    if busy is None or busy < FULL:
        return ()
    said = f"the GPUs worked {_share(busy)} of the time"
    return (said,) if reads is None else (f"{said}, and read or wrote memory {_share(reads)} of it",)


def _growth(seen: Sighting) -> tuple[float, str] | None:
    """How much more the highest load gave than the one below, and what of; None for a single load."""
    below = seen.below
    names = [name for name in THROUGHPUTS if below and seen.top.metrics.get(name) and below.metrics.get(name)]
    return (seen.top.metrics[names[0]] / below.metrics[names[0]], names[0]) if below and names else None


def _step_growth(seen: Sighting) -> float | None:
    """How much longer a token took with more requests in a step: 0 not at all, 1 as much as there were more."""
    below = seen.below
    if below is None:
        return None
    requests = _ratio(seen.top, below, "server_running_requests.mean", in_seen=True)
    tokens = _ratio(seen.top, below, "tpot_ms.mean", in_seen=False)
    if requests is None or tokens is None or requests < MORE:
        return None
    return (tokens - 1) / (requests - 1)


def _ratio(top: Level, below: Level, name: str, *, in_seen: bool) -> float | None:
    high, low = ((each.seen if in_seen else each.metrics).get(name, 0.0) for each in (top, below))
    return high / low if low > 0 and high > 0 else None
