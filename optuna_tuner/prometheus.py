"""Pages in Prometheus's text format: only what is wanted is parsed, since a server's page has hundreds of lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from optuna_tuner.values import Metrics

SHARES = ("server_kv_cache_use", "server_prefix_hit_share")  # of several engines the largest; all else is added up
RANKS = ("tp_rank", "pp_rank")  # the ranks of a group tell of the same requests: the first one speaks for all

Names = Mapping[str, Sequence[str]]  # our name -> theirs, the newest version's first; `a + b` is the sum of two


def read(page: str, names: Names) -> Metrics:
    """What a page says, by our names. What it does not say is left out: it is not known, and not zero."""
    values = _samples(page, tuple(parts(names)))
    found = ((name, _first(name, formulas, values)) for name, formulas in names.items())
    return {name: value for name, value in found if value is not None and isfinite(value)}


def parts(names: Names) -> Iterator[str]:
    """Every name of theirs."""
    return (part for formulas in names.values() for formula in formulas for part in formula.split(" + "))


def _samples(page: str, wanted: tuple[str, ...]) -> Mapping[str, Sequence[float]]:
    """The values of each metric, one an engine."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415  only who looks at a server

    lines = "".join(f"{line}\n" for line in page.splitlines() if line.startswith(wanted))
    found: dict[str, list[float]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(lines):
            for sample in family.samples:
                if all(sample.labels.get(rank, "0") == "0" for rank in RANKS):
                    found[sample.name].append(float(sample.value))
    except ValueError:  # it is no such page
        return {}
    return found


def _first(name: str, formulas: Sequence[str], values: Mapping[str, Sequence[float]]) -> float | None:
    for formula in formulas:
        told = [values.get(part, ()) for part in formula.split(" + ")]
        if all(told):
            return sum(max(each) if name in SHARES else sum(each) for each in told)
    return None
