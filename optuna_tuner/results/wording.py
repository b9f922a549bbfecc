"""How numbers and choices are said to people: short, with their unit, the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING

from optuna_tuner.metrics import unit
from optuna_tuner.values import Scalar

if TYPE_CHECKING:
    from optuna_tuner.results.views import StudyView
    from optuna_tuner.spec.goals import Goals
    from optuna_tuner.store.records import Choice

MINUTE_S = 60
HOUR_S = 3600


def number(value: float) -> str:
    """Four significant digits, without an exponent where that is readable."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004  four digits and more are grouped


def percent(share: float) -> str:
    """A signed share as percent: 0.234 is "+23.4 %"."""
    return f"{share * 100:+.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """Signed shares as percent: "+20.1 to +28.7 %"; empty where there is no interval."""
    return "" if low is None or high is None else f"{low * 100:+.1f} to {percent(high)}"


def span(seconds: float) -> str:
    """A duration in the largest unit that fits: "8.2 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S:02d} s"
    return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S:02d} min"


def measured(metric: str, value: float) -> str:
    """A metric's value with its unit, where the vocabulary knows the metric."""
    return number(value) if unit(metric) == "1" else f"{number(value)} {unit(metric)}"


def exact(value: Scalar | None) -> str:
    """A value as a program reads it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def settings(values: Mapping[str, Scalar]) -> str:
    """Flags and variables in one line: `threads=2 flash_attn=on`."""
    return " ".join(f"{name}={word(value)}" for name, value in values.items())


def word(value: Scalar | None) -> str:
    """A flag's value as it would be typed: the empty text is visible. Nothing for None."""
    return quote(value) if isinstance(value, str) else exact(value)


def endings(view: StudyView) -> str:
    """How a study's trials ended, in numbers."""
    counts = view.counts
    broken = counts.complete - counts.feasible + counts.pruned
    repeated = f", {counts.repeated} repeated" if counts.repeated else ""
    again = f", {counts.again} measured again" if counts.again else ""
    return f"{counts.feasible} feasible, {broken} not, {counts.failed} failed or stopped{repeated}{again}"


def goal_metrics(goals: Goals) -> tuple[str, ...]:
    """What the goals speak of, each once, objectives first."""
    names = [*(each.metric for each in goals.objectives), *(each.metric for each in goals.constraints)]
    return tuple(dict.fromkeys(names))


def passed_over(choice: Choice) -> str:
    """What the sampler left out before it chose; empty where it left out nothing."""
    if not choice.passed_over:
        return ""
    count = "1 configuration" if choice.passed_over == 1 else f"{choice.passed_over} configurations"
    return f"{count} known not to run: {'; '.join(choice.objections)}"


def repaired(choice: Choice) -> str:
    """What was moved to make the configuration possible; empty where it was drawn so."""
    return ", ".join(f"{name} from {before} to {after}" for name, (before, after) in choice.repaired.items())


def retracted(requests: int | None) -> str:
    """How many requests lost their place in the KV cache; empty where the server told of none."""
    if not requests:
        return ""
    count = "1 request" if requests == 1 else f"{requests} requests"
    return f"it was full: {count} lost their place in it, to be computed again later"
