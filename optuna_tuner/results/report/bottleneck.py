"""What limits the server of a report, as it is written and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optuna_tuner.metrics import SEEN
from optuna_tuner.results.bottleneck import Limit
from optuna_tuner.results.bottleneck.judging import bottleneck_of
from optuna_tuner.results.report.blocks import Block, Bullets, Grid, Text
from optuna_tuner.results.report.document import BottleneckFound
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.wording import measured
from optuna_tuner.search.attained import reported


def bottleneck_found(study: StudyView) -> BottleneckFound | None:
    """Of the recommended trial, else of the default; None where neither was measured."""
    trial = study.best.trial or study.baseline
    found = bottleneck_of(study.spec, trial) if trial else None
    if trial is None or trial.number is None or found is None:
        return None
    return BottleneckFound(
        trial=trial.number,
        limit=found.limit.value,
        load=found.load,
        text=found.text,
        evidence=found.evidence,
        moves=found.moves,
        missing=found.missing,
        seen={str(each.load): each.seen for each in reported(trial.measurements) if each.seen},
    )


def in_short(found: BottleneckFound) -> str:
    """For the first page; empty where it cannot be told."""
    if found.limit == Limit.UNKNOWN.value:
        return ""
    return f"What limits it at {found.load}, as a hypothesis: {found.limit}. {found.text} ({'; '.join(found.evidence)})"


def bottleneck_blocks(found: BottleneckFound | None) -> Iterator[Block]:
    """The section of a report; nothing for a trial that was not measured."""
    if found is None:
        return
    yield Text(f"Trial {found.trial} at {found.load}: {found.limit}. {found.text}")
    parts = {"Evidence": found.evidence, "What to try next": found.moves, "What was not seen": found.missing}
    yield from (Bullets(title, each) for title, each in parts.items() if each)
    if found.seen:
        yield _grid(found.seen)


def _grid(seen: Mapping[str, Mapping[str, float]]) -> Grid:
    """What was seen at each load."""
    names = [name for name in SEEN if any(name in each for each in seen.values())]
    rows = [(name, *(measured(name, each[name]) if name in each else "" for each in seen.values())) for name in names]
    return Grid(("", *seen), rows, frozenset(range(1, 1 + len(seen))), "Seen while each load was measured")
