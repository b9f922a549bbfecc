"""From what happened to single requests to the metrics of one load level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optuna_tuner.metrics import DISTRIBUTIONS, SCALARS, STATISTICS
from optuna_tuner.values import RequestSlo

DELIVERED = frozenset(f"{name}.{statistic}" for name in DISTRIBUTIONS for statistic in STATISTICS) | frozenset(SCALARS)
ITL = frozenset(f"itl_ms.{statistic}" for statistic in STATISTICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """What one request did. Seconds; `error` is empty when it completed. `gaps_s` is None where no client saw them."""

    ttft_s: float = 0.0
    e2e_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    gaps_s: tuple[float, ...] | None = None
    error: str = ""

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; None for a reply of one token."""
        return (self.e2e_s - self.ttft_s) / (self.output_tokens - 1) if self.output_tokens > 1 else None

    def keeps(self, slo: RequestSlo) -> bool:
        """Whether it completed within every bound. A reply of one token has no TPOT and breaks no bound on it."""
        pairs = ((self.ttft_s, slo.ttft_ms), (self.tpot_s, slo.tpot_ms), (self.e2e_s, slo.e2e_latency_ms))
        return not self.error and all(value is None or bound is None or 1000 * value <= bound for value, bound in pairs)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of ordered values, linear between ranks: numpy's default, type 7 of Hyndman and Fan (1996)."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summarise(records: Sequence[RequestRecord], duration_s: float, slo: RequestSlo) -> dict[str, float]:
    """All metrics of one level. `duration_s`: from the first request's start to the last one's end, above zero.

    A distribution of which no request has a value is left out; the report check then names what is missing.
    """
    done = [record for record in records if not record.error]
    good = sum(record.keeps(slo) for record in done)
    tokens_in, tokens_out = sum(r.input_tokens for r in done), sum(r.output_tokens for r in done)
    distributions = {
        "ttft_ms": [record.ttft_s for record in done],
        "tpot_ms": [record.tpot_s for record in done if record.tpot_s is not None],
        "itl_ms": [gap for record in done for gap in record.gaps_s or ()],
        "e2e_latency_ms": [record.e2e_s for record in done],
    }
    spread = {key: value for name, values in distributions.items() for key, value in _spread(name, values)}
    return spread | {
        "input_throughput_tok_s": tokens_in / duration_s,
        "output_throughput_tok_s": tokens_out / duration_s,
        "total_throughput_tok_s": (tokens_in + tokens_out) / duration_s,
        "request_rate_req_s": len(done) / duration_s,
        "goodput_req_s": good / duration_s,
        "goodput_share": good / max(1, len(records)),
        "error_rate": (len(records) - len(done)) / max(1, len(records)),
        "completed_requests": float(len(done)),
        "failed_requests": float(len(records) - len(done)),
        "duration_s": duration_s,
    }


def _spread(name: str, seconds: Sequence[float]) -> Iterator[tuple[str, float]]:
    if not seconds:
        return
    ordered = sorted(1000 * value for value in seconds)
    yield f"{name}.mean", sum(ordered) / len(ordered)
    for statistic in STATISTICS:
        if statistic != "mean":
            yield f"{name}.{statistic}", percentile(ordered, float(statistic.removeprefix("p")))
