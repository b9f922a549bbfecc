"""What came of leaving flags out, as it was measured: in words, and as data."""

from __future__ import annotations

from collections.abc import Iterator

from optuna_tuner.results.wording import interval, percent
from optuna_tuner.search.simplifying import Simplification, Step
from optuna_tuner.values import Json

NOTHING = "Measured: none of its flags was left out, since each is predicted to matter or too little is known of it."


def simplified_text(found: Simplification | None) -> str:
    """Which flags are enough, and which were tried to be left out in vain; empty where nothing was simplified."""
    if found is None:
        return ""
    return " ".join(_sentences(found)) if found.steps else NOTHING


def _sentences(found: Simplification) -> Iterator[str]:
    best, winner = found.best, found.winner.winner
    if best is not None:
        names = [*best.params.flags, *best.params.env]
        count = len(names) + len(best.left_out)
        yield (
            f"{len(names)} of {count} flags keep the gain of trial {winner.number} ({', '.join(names) or 'none'}), "
            f"measured: {_behind(found, best)}."
        )
    for step in found.steps:
        if step.keeps is None:
            yield f"Without {', '.join(step.left_out)}: being measured."
        elif not step.keeps:
            yield f"The gain is not kept without {', '.join(step.left_out)}: {_behind(found, step)}."


def _behind(found: Simplification, step: Step) -> str:
    """How far it is from the winner."""
    pairs = step.against
    if pairs is None:
        return "it could not be measured"
    if pairs.kept < len(pairs.pairs):
        return f"it kept every constraint in {pairs.kept} of {len(pairs.pairs)} runs"
    gain = pairs.estimates[0]
    if gain is None:
        return "it could not be compared"
    held = f"{found.winner.confidence * 100:g} % CI {interval(gain.low, gain.high)}"
    return f"{percent(gain.share)} against all of them ({held}); {len(pairs.pairs)} pairs"


def simplification_document(found: Simplification | None) -> dict[str, Json] | None:
    """For JSON and YAML; None where nothing was simplified. Key names are stable; shares as shares."""
    if found is None:
        return None
    return {"of_trial": found.winner.winner.number, "steps": [_step(step) for step in found.steps]}


def _step(step: Step) -> dict[str, Json]:
    pairs = step.against
    gain = pairs.estimates[0] if pairs else None
    return {
        "left_out": list[Json](step.left_out),
        "flags": {**step.params.flags, **step.params.env},
        "pairs": len(pairs.pairs) if pairs else 0,
        "against_winner": None if gain is None else {"share": gain.share, "low": gain.low, "high": gain.high},
        "verdict": step.gain.decisions[0].value if step.gain else None,
        "keeps": step.keeps,
    }
