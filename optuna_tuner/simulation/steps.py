"""How long one step takes: the roofline of its matrix products, and what comes on top.

A step is bound by arithmetic or by reading weights, whichever takes longer (S. Williams, A. Waterman, D. Patterson,
"Roofline", 2009); then come attention, exchanges between GPUs, and what the host does. The shares of the data sheets'
figures that kernels reach, and the times of host and launches, are rules of thumb, not measurements.
"""

from __future__ import annotations

from math import log2, sqrt

from optuna_tuner.simulation.accelerators import Accelerator
from optuna_tuner.simulation.server import Drafts, Exchange, Server
from optuna_tuner.simulation.shape import Shape

ARITHMETIC = 0.72  # share of the peak that large products reach
READING = 0.80  # share of the memory's bandwidth that weights are read with
CACHE_READING = 0.65  # and the KV cache, which lies scattered
PROMPT_ATTENTION = 0.45  # share of the bf16 peak that attention between a prompt's tokens reaches
LINKING = 0.70  # share of a link's bandwidth
TILE = 128  # tokens with which products reach half their share of the peak
SLICE = 192  # width of an expert's slice with which they do
LAUNCH_S = 4.5e-6  # host: one kernel
GAP_S = 0.8e-6  # GPU: between two kernels
REPLAY_S = 0.4e-3  # host: one CUDA graph
KERNELS, KERNELS_FUSED, KERNELS_OF_EXPERTS = 14, 9, 6  # of a layer
PASSES, PASSES_FUSED = 16, 8  # how often a layer reads or writes the residual stream beside its products
HOST_S, HOST_REQUEST_S = 0.9e-3, 10e-6  # scheduling, sampling, text: of a step, and of each request in it
UNEVEN, EVENED = 1.35, 1.08  # work of the fullest GPU over the mean, where experts are whole
ACCEPTED = 0.66  # share of first proposals that the large model takes
ANOTHER_BRANCH = 0.12  # what one more branch adds, as a share of one more try


class Steps:
    """The times of one server's steps, in seconds. All groups take part in a step; the load is that of one group.

    Every part of a step is a constant and a price for each token, which are worked out once.
    """

    def __init__(self, accelerator: Accelerator, shape: Shape, server: Server) -> None:
        self._shape, self._server = shape, server
        self._verified = server.drafts.tokens if server.drafts else 1
        self.accepted = accepted(server.drafts) if server.drafts else 1.0
        bandwidth = accelerator.gpu.bandwidth
        tp, reading = server.attention_tp, bandwidth * READING
        self._draft_s = _draft_s(server.drafts, shape, tp, reading) if server.drafts else 0.0
        self._product_s = _product_s(accelerator, shape, server)
        self._read_s = shape.shared_bytes / tp / reading
        self._experts_s = shape.expert_bytes / server.world * sqrt(_uneven(server)) / reading
        self._cache_s = server.cache_bytes / (bandwidth * CACHE_READING * server.attention_speed)
        rate = accelerator.bf16 * PROMPT_ATTENTION * server.attention_speed
        self._prompt_s = 2 * shape.layers * shape.hidden / tp / rate  # each token meets half of its context
        kernels = KERNELS_FUSED if server.fused else KERNELS
        kernels = shape.layers * (kernels + (KERNELS_OF_EXPERTS if shape.experts else 0))
        passes = PASSES_FUSED if server.fused else PASSES
        hops, exchanged = _exchanges(accelerator, shape, server)
        self._launches_s = kernels * LAUNCH_S
        self._fixed_s = hops + kernels * GAP_S
        self._token_s = exchanged + shape.layers * shape.hidden * 2 * passes / reading

    def time(self, replies: float, prompt_tokens: float, context: float) -> float:
        """Of one step with so many requests that decode, of `context` tokens each, and so many tokens of prompts."""
        server = self._server
        tokens = replies * self._verified + prompt_tokens
        read = self._read_s
        if self._experts_s:
            read += self._experts_s * self._shape.touched(tokens * server.groups)
        gpu = max((tokens + TILE) * self._product_s, read) + self._fixed_s + tokens * self._token_s
        gpu += context * (replies * self._cache_s + prompt_tokens * self._prompt_s)
        drafts = self._draft_s if replies else 0.0
        replayed = not prompt_tokens and replies <= server.graphs
        launches = REPLAY_S if replayed else self._launches_s
        host = (HOST_S + HOST_REQUEST_S * replies) / (1.0 if prompt_tokens else server.held_steps)
        if server.host_ahead:
            return max(gpu, launches, host) + drafts
        return max(gpu, launches) + host + drafts


def _uneven(server: Server) -> float:
    if server.exchange is None:
        return 1.0
    return EVENED if server.balanced else UNEVEN


def _product_s(accelerator: Accelerator, shape: Shape, server: Server) -> float:
    """Of one token; a step takes as long as if it had `TILE` tokens more."""
    chosen = shape.active_parameters - shape.shared_parameters
    if shape.experts:
        width = shape.expert_width if server.exchange else shape.expert_width / server.world
        chosen *= _uneven(server) * (width + SLICE) / width
    rate = (accelerator.fp8 if shape.quantized else accelerator.bf16) * ARITHMETIC
    return 2 * (shape.shared_parameters + chosen) / server.attention_tp / rate


def _exchanges(accelerator: Accelerator, shape: Shape, server: Server) -> tuple[float, float]:
    """Between GPUs, in all layers: of a step, and of each token of a group."""
    tp, world, hop = server.attention_tp, server.world, accelerator.hop_s
    token = shape.hidden * 2 / (accelerator.link * LINKING)  # one copy of it, in 16 bits
    if world == 1:
        return 0.0, 0.0
    reduce_hops, reduce_token = (hop * (1 + log2(tp)), 2 * token * (tp - 1) / tp) if tp > 1 else (0.0, 0.0)
    if server.exchange is None and server.groups == 1:
        return 2 * shape.layers * reduce_hops, 2 * shape.layers * reduce_token
    if server.exchange is Exchange.SPARSE:
        copies = min(shape.experts_per_token, world - 1) * 0.75  # there in 8 bits, back in 16
        hops, each = 6 * hop, 2 * token * copies / tp
    else:
        hops, each = 2 * hop * (1 + log2(world)), 2 * token * server.groups * (world - 1) / world
    return shape.layers * (reduce_hops + hops), shape.layers * (reduce_token + each)


def accepted(drafts: Drafts) -> float:
    """Mean tokens that one step of the large model gives: a chain of proposals ends at the first that is refused."""
    tries = 1 + ANOTHER_BRANCH * (drafts.branches - 1)
    taken = 1 - (1 - ACCEPTED) ** tries
    depth = min(drafts.steps, (drafts.tokens - 1) / sqrt(drafts.branches))
    return float((1 - taken ** (depth + 1)) / (1 - taken))


def _draft_s(drafts: Drafts, shape: Shape, tp: int, reading: float) -> float:
    """The small model is one layer, and the head, which is taken for two layers' worth; it is not split well."""
    read = 3 * shape.shared_bytes / shape.layers
    return drafts.steps * (0.25e-3 + read / sqrt(tp) / reading * (1 + 0.1 * (drafts.branches - 1)))
