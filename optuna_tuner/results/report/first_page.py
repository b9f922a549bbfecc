"""The first page of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optuna_tuner.results.report.blocks import Block, Bullets, Decision, Grid, Notice, Text, Tile, Tiles
from optuna_tuner.results.report.bottleneck import in_short
from optuna_tuner.results.report.document import Curve, Figure, FlagRow, GainRow, Report, Summary
from optuna_tuner.results.report.load import TAILS, THROUGHPUTS, said
from optuna_tuner.results.wording import interval, measured, number, percent, word

MOST_FLAGS = 10  # changed ones on the first page
MOST_ISSUES = 4
OPEN_END = ("at least ", "no higher load was measured")
MOODS = {
    "deploy": "good",
    "keep the default": "good",
    "nothing to deploy": "bad",
    "held": "good",
    "regressed": "bad",
    "agrees": "good",
    "differs": "bad",
}
ADVICE = {
    "deploy": "the gain holds",
    "not confirmed": "a gain of one run each, likely too good",
    "not decided": "the pairs do not tell; measure more of them",
    "keep the default": "nothing better that counts was found",
    "nothing to deploy": "no configuration kept every promise",
    "measured": "one configuration, without a search",
    "held": "the winner of an older study, measured again",
    "regressed": "the winner of an older study, measured again",
    "agrees": "a trial of an older study, measured again",
    "differs": "a trial of an older study, measured again",
    "cannot tell": "what an older study found, measured again",
    "rehearsal": "a model of a server answered; nothing here is to be deployed",
}


def first_page(report: Report) -> Iterator[Block]:
    """What to do, and why, in one minute; printed it is one A4 page."""
    found = report.summary
    yield from [Text(report.description)] if report.description else []
    yield Text(f"Study {report.state}. Written {report.written} by {report.made_by}.")
    yield from (Notice(words) for words in report.warnings)
    what = f"Deploy trial {found.trial}" if found.decision == "deploy" else found.decision.capitalize()
    yield Decision(f"{what}: {ADVICE[found.decision]}", found.text, MOODS.get(found.decision, "open"))
    tiles = list(_tiles(report))
    yield from [Tiles(tiles)] if tiles else []
    changed = [row for row in found.flags if row.changed]
    yield from [_changes(changed, found)] if found.trial is not None and changed and found.gains else []
    limit = in_short(report.bottleneck) if report.bottleneck else ""
    yield from [Text(limit)] if limit else []
    yield from [Text(found.predicted)] if found.predicted else []
    yield from [Text(f"Beside the speed: {found.beyond_speed}.")] if found.beyond_speed else []
    yield from [Bullets("Main issues met", _issues(found))] if found.issues else []
    yield from [Bullets("What this report cannot say", report.missing)] if report.missing else []


def _changes(changed: Sequence[FlagRow], found: Summary) -> Grid:
    more = f"; {len(changed) - MOST_FLAGS} more below" if len(changed) > MOST_FLAGS else ""
    caption = f"Flags against the default: {len(changed)} changed, {len(found.flags) - len(changed)} the same{more}"
    return flag_grid(changed[:MOST_FLAGS], caption)


def _issues(found: Summary) -> Sequence[str]:
    said_of = [
        f"{f'{issue.trials} x ' * bool(issue.trials)}{issue.what}: {issue.advice}"
        for issue in found.issues[:MOST_ISSUES]
    ]
    more = len(found.issues) - MOST_ISSUES
    return [*said_of, f"{more} more: see the failure map"] if more > 0 else said_of


def _tiles(report: Report) -> Iterator[Tile]:
    found = report.summary
    level = (found.level or "the mean over all loads") + ", one run" * bool(found.pairs)
    for gain in found.gains:
        if gain.share is not None:
            yield Tile(f"gain in {gain.metric}", percent(gain.share), _worth(gain, found.confidence))
    best = next((curve for curve in report.curves if curve.trial == found.trial or found.decision == "measured"), None)
    if best:
        yield from _load_tiles(best)
    for figure in found.at_level:
        if figure.name == THROUGHPUTS[0]:
            yield Tile(figure.name, shown(figure), f"at {level}")
        elif figure.name in TAILS:
            yield Tile(figure.name, shown(figure), f"tail latency at {level}")
    yield from (Tile(figure.name, shown(figure), f"at {level}") for figure in found.efficiency)


def _worth(gain: GainRow, confidence: float | None) -> str:
    if gain.low is None or confidence is None:
        return gain.verdict or "one run each, no interval"
    return f"{confidence * 100:g} % CI {interval(gain.low, gain.high)}: {gain.verdict}"


def _load_tiles(best: Curve) -> Iterator[Tile]:
    if best.sustained is not None:
        least, limit = ("", f"{number(best.broken_at)} broke it") if best.broken_at is not None else OPEN_END
        bend = f"; knee at {number(best.knee)}" if best.knee is not None else ""
        yield Tile("most load within the SLO", f"{least}{number(best.sustained)}", f"{best.unit}; {limit}{bend}")
    if best.peak is not None and best.peak_load is not None:
        yield Tile("peak throughput", measured(best.peak.name, best.peak.value), f"at {said(best.peak_load, best)}")


def shown(figure: Figure) -> str:
    """A figure with its unit."""
    return number(figure.value) if figure.unit == "1" else f"{number(figure.value)} {figure.unit}"


def flag_grid(rows: Sequence[FlagRow], caption: str) -> Grid:
    """The flags as a difference to the default."""
    cells = [(row.flag, _default(row), word(row.recommended) if row.changed else "the same") for row in rows]
    return Grid(("flag", "default", "recommended"), cells, caption=caption)


def _default(row: FlagRow) -> str:
    return f"{word(row.default)} (engine's own)".lstrip() if row.engines_own else word(row.default)
