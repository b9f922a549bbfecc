"""What limits a server: a hypothesis, with its evidence and next moves; "cannot tell" where it cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """What more load, or a faster answer, would need more of."""

    COMPUTE = "compute"  # the GPUs' arithmetic
    MEMORY_CAPACITY = "memory capacity"  # the KV cache's room
    MEMORY_BANDWIDTH = "memory bandwidth"  # the GPUs' reading of weights and KV cache
    QUEUEING = "queueing"  # the server lets fewer requests run than it could
    CPU = "cpu"  # the machine's cores, or the one process that feeds the GPUs
    NETWORK = "network"  # between the load client and the server's scheduler
    CLIENT = "client"  # the load client itself: then no figure of this load is the server's
    NONE = "none"  # nothing yet: more load still gives more
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """What limits one trial's server at one load.

    Attributes:
        limit: what it is.
        load: at which load that was seen, the highest one that was measured.
        text: the hypothesis in a sentence.
        evidence: the figures that speak for it.
        moves: what to try next.
        missing: what was not seen, and how it would be.

    """

    limit: Limit
    load: str
    text: str
    evidence: tuple[str, ...] = ()
    moves: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
