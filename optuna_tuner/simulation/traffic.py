"""What clients send."""

from __future__ import annotations

from dataclasses import dataclass

from optuna_tuner.values import LoadKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One kind of traffic, at one load level or at a ladder of them.

    Attributes:
        input_tokens, output_tokens: means of a request.
        output_spread: standard deviation of the output's length over its mean.
        shared: share of the prompts' tokens that begins other prompts too, 0 to 1.
        shared_tokens: tokens of all distinct shared beginnings together: what the KV cache must keep to serve them.
        load: closed loop (requests in flight) or open loop (requests a second, Poisson).
        levels: the load levels, in the order in which they are measured; the values of `load`.
        requests: how many requests one level has, for each one in flight; open loop: seconds of one level.

    """

    input_tokens: int
    output_tokens: int
    output_spread: float = 0.3
    shared: float = 0.0
    shared_tokens: int = 0
    load: LoadKind = LoadKind.CONCURRENCY
    levels: tuple[float, ...]
    requests: float = 6.0
