"""From two sides to what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optuna_tuner.results.side_by_side import FEWEST_RUNS, Difference, Setting, Side
from optuna_tuner.results.side_by_side.changes import changes
from optuna_tuner.results.side_by_side.settings import circumstances, flags, resolved, settings


def difference_of(first: Side, second: Side, *, everything: bool = False) -> Difference:
    """What differs between two sides; with everything else too, where that is wanted."""

    def shown(rows: Sequence[Setting]) -> tuple[Setting, ...]:
        return tuple(row for row in rows if everything or row.differs)

    return Difference(
        first=first,
        second=second,
        flags=shown(settings(flags(first), flags(second))),
        metrics=tuple(changes(first, second, everything=everything)),
        resolved=shown(resolved(first, second)),
        circumstances=shown(settings(circumstances(first), circumstances(second))),
        warnings=tuple(_warnings(first, second)),
    )


def _warnings(first: Side, second: Side) -> Iterator[str]:
    yield from dict.fromkeys(side.study.spec.notice for side in (first, second) if side.study.spec.notice)
    one, other = first.study.spec, second.study.spec
    if one.model != other.model:
        yield f"They serve different models: {one.model.name} and {other.model.name}."
    if one.benchmark != other.benchmark:
        yield "They were measured by different benchmarks or loads: their figures do not compare."
    elif first.trial.level != second.trial.level:
        yield f"They were measured at different loads: {first.trial.level} and {second.trial.level}."
    if first.trial.host != second.trial.host:
        yield f"They ran on different machines: {first.trial.host} and {second.trial.host}."
    for side in (first, second):
        if not side.trial.feasible:
            yield f"{side.name} is {side.trial.state.value}: it is nothing to deploy."
    if min(len(first.runs), len(second.runs)) < FEWEST_RUNS:
        yield "One run on a side: without repeats nobody knows how much of a change is noise."
