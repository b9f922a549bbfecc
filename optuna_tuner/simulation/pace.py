"""How a group's requests advance when so many of them run: the mean step, and what prompts cost those who decode."""

from __future__ import annotations

from dataclasses import dataclass

from optuna_tuner.simulation.server import Prefill, Server
from optuna_tuner.simulation.steps import Steps
from optuna_tuner.simulation.traffic import Traffic

FILLED = 0.9  # share of the KV cache that can be used without any request losing its place
LOSING = 0.5  # share of requests that lose it, for each time that the cache is asked for once more
MOST_LOST = 0.6
SURE = 2.5  # how fast caution ends that
EXPECTED = 0.5  # share of a reply that is there on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the KV cache makes of the requests that want to run.

    Attributes:
        running: that run.
        lost: share of requests that lose their place in it and start again.
        prompt_tokens: of a request that must be computed, what is computed again included.

    """

    running: float
    lost: float
    prompt_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times in seconds, with so many requests that decode.

    Attributes:
        decoding: how many.
        step_s: mean time between two steps of one request.
        short_s, long_s: a step without, and with prompts; where they do not mix, `long_s` is what both take together.
        long_share: share of a request's steps that are long.
        prompt_s: a prompt's own steps.
        busy: share of the time that has prompts in it.

    """

    decoding: float
    step_s: float
    short_s: float
    long_s: float
    long_share: float
    prompt_s: float
    busy: float


def fit(server: Server, traffic: Traffic, wanted: float) -> Fit:
    """How many of the requests that want to run do, and what they compute."""
    shared = traffic.shared if server.reuse else 0.0
    own = traffic.input_tokens * (1 - shared) + EXPECTED * traffic.output_tokens + server.block / 2
    reckoned = own + server.caution * (1 - EXPECTED) * traffic.output_tokens
    asked = min(wanted, server.slots)
    running = max(min(asked, server.pool_tokens / reckoned), 1.0)
    over = max(asked * own / server.pool_tokens - FILLED, 0.0)
    lost = min(LOSING * over, MOST_LOST) * (1 - min(server.caution, 1.0)) ** SURE
    room = max(server.pool_tokens - running * own, 0.0)
    kept = min(room / traffic.shared_tokens, 1.0) if traffic.shared_tokens else 1.0
    found = shared * (kept**0.5 if server.sorted_by_prefix else kept)
    prompt = traffic.input_tokens * (1 - found)
    again = lost * (prompt + EXPECTED * traffic.output_tokens)
    return Fit(running=running, lost=lost, prompt_tokens=prompt + again)


def most_decoding(steps: Steps, server: Server, traffic: Traffic, found: Fit) -> float:
    """With how many the prompts that they bring fill each step's tokens."""
    verified = server.drafts.tokens if server.drafts else 1
    if server.prefill is Prefill.APART:
        return found.running
    each = found.prompt_tokens * steps.accepted / traffic.output_tokens
    most = min(found.running, server.step_tokens / (verified + each))
    if server.whole_prompts:
        most = min(most, (server.step_tokens - found.prompt_tokens) / verified)
    return max(most, 1.0)


def pace(steps: Steps, server: Server, traffic: Traffic, found: Fit, decoding: float) -> Pace:
    """Of a group in which so many requests decode, with new ones in the place of those that end."""
    context = traffic.input_tokens + EXPECTED * traffic.output_tokens
    in_steps = traffic.output_tokens / steps.accepted
    brought = decoding * found.prompt_tokens / in_steps  # tokens of prompts for each step of decoding
    short = steps.time(decoding, 0.0, context)
    if server.prefill is Prefill.APART:
        piece = min(server.step_tokens, max(found.prompt_tokens, brought))
        alone = steps.time(0.0, piece, context)
        share = brought / piece
        step = short + share * alone
        return Pace(
            decoding=decoding,
            step_s=step,
            short_s=short,
            long_s=short + alone,
            long_share=share,
            prompt_s=max(found.prompt_tokens / piece, 1.0) * alone + short / 2,
            busy=min(share * alone / step, 1.0),
        )
    verified = server.drafts.tokens if server.drafts else 1
    piece = max(min(server.step_tokens - decoding * verified, max(found.prompt_tokens, brought)), brought, 1.0)
    share = min(brought / piece, 1.0)
    long = steps.time(decoding, piece, context)
    step = (1 - share) * short + share * long
    return Pace(
        decoding=decoding,
        step_s=step,
        short_s=short,
        long_s=long,
        long_share=share,
        prompt_s=max(found.prompt_tokens / piece, 1.0) * long,
        busy=min(share * long / step, 1.0),
    )
