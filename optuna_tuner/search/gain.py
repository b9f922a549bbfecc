"""What pairs of measurements say of a gain: an interval, and whether that is a win, a tie or a loss.

Pure functions of numbers: Student's interval of the mean of the pairs' log ratios. Whatever changes both halves of a
pair alike, such as a machine that grows warm, drops out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

FEWEST_PAIRS = 2  # one pair says nothing of the noise


class Decision(StrEnum):
    """What is known of a gain, at the confidence that was asked for."""

    WIN = "win"  # it is above the smallest gain that counts
    TIE = "tie"  # it is smaller than that, whichever way
    LOSS = "loss"  # it is a loss of more than that
    INCONCLUSIVE = "inconclusive"  # any of two or three is possible


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The gain in one objective, as shares of the default's value: 0.2 is 20 % better, whatever the direction.

    `low` and `high` hold it at the confidence that was asked for. `winner` and `default` are the geometric means over
    the pairs, in the metric's unit; `logs` are the logarithms of the pairs' ratios.
    """

    winner: float
    default: float
    share: float
    low: float
    high: float
    pairs: int
    logs: tuple[float, ...] = ()


def estimate(
    winner: Sequence[float], default: Sequence[float], *, maximize: bool, confidence: float
) -> Estimate | None:
    """The gain that pairs show, place by place; None for fewer than two, or where a value is not above zero."""
    pairs = len(winner)
    if pairs < FEWEST_PAIRS or min(*winner, *default) <= 0:
        return None
    ratios = [math.log(ours / theirs) for ours, theirs in zip(winner, default, strict=True)]
    middle = math.fsum(ratios) / pairs
    spread = math.sqrt(math.fsum((ratio - middle) ** 2 for ratio in ratios) / (pairs - 1) / pairs)
    half = student(confidence, pairs - 1) * spread
    shares = sorted(share_of(each, maximize=maximize) for each in (middle - half, middle + half))
    return Estimate(
        winner=_geometric_mean(winner),
        default=_geometric_mean(default),
        share=share_of(middle, maximize=maximize),
        low=shares[0],
        high=shares[1],
        pairs=pairs,
        logs=tuple(ratios),
    )


def chained(full: Estimate, step: Estimate, *, maximize: bool, confidence: float) -> Estimate:
    """The gain over the default of what was measured against `full`, which was measured against the default.

    Student's interval of the sum of two means, whose noise is the same.
    """
    middle = math.fsum(full.logs) / full.pairs + math.fsum(step.logs) / step.pairs
    freedom = full.pairs + step.pairs - 2
    squares = sum((each - math.fsum(one.logs) / one.pairs) ** 2 for one in (full, step) for each in one.logs)
    half = student(confidence, freedom) * math.sqrt(squares / freedom * (1 / full.pairs + 1 / step.pairs))
    shares = sorted(share_of(each, maximize=maximize) for each in (middle - half, middle + half))
    return replace(
        full,
        winner=full.default * math.exp(middle),
        share=share_of(middle, maximize=maximize),
        low=shares[0],
        high=shares[1],
    )


def decide(found: Estimate | None, min_gain: float) -> Decision:
    """A win where the whole interval is above `min_gain`, a loss where it is below its negative, a tie in between.

    So a win of a server that is in truth not better by `min_gain` happens in at most half of what the confidence leaves
    open: 2.5 % at 95 %.
    """
    if found is None:
        return Decision.INCONCLUSIVE
    if found.low > min_gain:
        return Decision.WIN
    if found.high < -min_gain:
        return Decision.LOSS
    return Decision.TIE if -min_gain <= found.low and found.high <= min_gain else Decision.INCONCLUSIVE


def share_of(log_ratio: float, *, maximize: bool) -> float:
    """A ratio's logarithm as a gain: 0.2 is 20 % better, whatever the direction."""
    return math.expm1(log_ratio) if maximize else -math.expm1(log_ratio)


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def student(confidence: float, freedom: int) -> float:
    """The quantile of Student's t that holds so much of it on both sides."""
    from scipy.special import stdtrit  # noqa: PLC0415  scipy takes a while to import, and few commands need it

    return float(stdtrit(freedom, (1 + confidence) / 2))
