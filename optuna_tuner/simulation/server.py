"""What a launch amounts to, whichever engine's flags said it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from optuna_tuner.values import Cause


class Prefill(StrEnum):
    """How prompts and replies share the steps."""

    MIXED = "mixed"  # one step holds pieces of prompts beside all requests that decode
    APART = "apart"  # a step is either; prompts go first, and decoding waits


class Exchange(StrEnum):
    """How tokens reach the GPUs that have their experts, where experts are not sliced."""

    GATHER = "gather"  # all tokens go everywhere
    SPARSE = "sparse"  # each token goes only where its experts are


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Speculative decoding: a small model proposes, the large one verifies.

    Attributes:
        steps: how often the small model runs for one step of the large one.
        branches: proposals kept at each of these.
        tokens: tokens that the large model verifies at once.

    """

    steps: int
    branches: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server as it will run, resolved from the flags.

    Attributes:
        attention_tp: GPUs that share the attention of one request.
        groups: such sets of GPUs, with requests of their own, which share each layer's experts in one common step.
        replicas: servers beside it that share nothing.
        exchange: how tokens find experts that are whole; None where each GPU has a slice of every expert.
        balanced: whether experts that are asked for often have copies.
        slots: the most requests that one group runs at once.
        step_tokens: the most tokens of one step of a group.
        whole_prompts: whether a prompt must fit in one step.
        prefill: how prompts and replies share the steps.
        pool_tokens: tokens that the KV cache of one group holds.
        cache_bytes: KV cache of one token on one GPU.
        block: tokens of one block of it.
        reuse: whether the beginnings of prompts are kept.
        sorted_by_prefix: whether requests that can share go first.
        caution: share of its reply that a request is reckoned with before it is let in.
        graphs: largest batch of replies that runs as a CUDA graph; 0 for none.
        fused: whether the layers were compiled.
        host_ahead: whether the host prepares the next step while the GPUs work.
        held_steps: steps between two looks at the queue.
        attention_speed: of the attention kernels, as a share of the best ones known.
        drafts: None for plain decoding.
        start_s: seconds from the launch to the first answer.

    """

    attention_tp: int
    groups: int = 1
    replicas: int = 1
    exchange: Exchange | None = None
    balanced: bool = False
    slots: int
    step_tokens: int
    whole_prompts: bool = False
    prefill: Prefill = Prefill.MIXED
    pool_tokens: int
    cache_bytes: float
    block: int = 16
    reuse: bool = True
    sorted_by_prefix: bool = False
    caution: float = 0.0
    graphs: int
    fused: bool = True
    host_ahead: bool = False
    held_steps: int = 1
    attention_speed: float = 1.0
    drafts: Drafts | None = None
    start_s: float

    @property
    def world(self) -> int:
        """GPUs of one replica."""
        return self.attention_tp * self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a launch does not serve, and the seconds that it took to find out.

    Where the KV cache is too small for one request: `room` and `needed`, what it has and what that takes, in bytes;
    `tokens`, how many it holds.
    """

    cause: Cause
    why: str
    seconds: float
    room: float = 0.0
    needed: float = 0.0
    tokens: int = 0
