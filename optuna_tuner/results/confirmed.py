"""The verdict in words: what winner and default gave when they were measured back to back."""

from __future__ import annotations

from collections.abc import Sequence

from optuna_tuner.results.wording import interval, percent
from optuna_tuner.search.confirmation import Confirmation
from optuna_tuner.search.gain import Decision, Estimate
from optuna_tuner.spec.goals import Objective

MEANING = {
    Decision.WIN: "the gain holds",
    Decision.TIE: "no difference that counts",
    Decision.LOSS: "the default is better",
    Decision.INCONCLUSIVE: "the pairs do not tell",
}


def verdict_text(found: Confirmation, objectives: Sequence[Objective]) -> str:
    """One sentence with the verdict, one with the figures, one with the promise where it was not always kept."""
    said = [_decided(found, objectives), _figures(found, objectives), _promise(found)]
    return " ".join(filter(None, said))


def _decided(found: Confirmation, objectives: Sequence[Objective]) -> str:
    if len(set(found.decisions)) == 1:
        decision = found.decisions[0]
        return f"Verdict: {decision.value} ({MEANING[decision]})."
    each = zip(found.decisions, objectives, strict=True)
    return f"Verdict: {', '.join(f'{decision.value} in {objective.metric}' for decision, objective in each)}."


def _figures(found: Confirmation, objectives: Sequence[Objective]) -> str:
    pairs = f"{len(found.pairs)} {'pair' if len(found.pairs) == 1 else 'pairs'}"
    if len(found.pairs) < found.wanted:
        pairs = f"{len(found.pairs)} of {found.wanted} pairs"
    shares = [
        f"{objective.metric} {_interval(each, found.confidence)}"
        for each, objective in zip(found.estimates, objectives, strict=True)
        if each is not None
    ]
    if not shares:
        return f"Measured so far: {pairs}."
    return f"{'; '.join(shares)}; {pairs}, back to back."


def _interval(found: Estimate, confidence: float) -> str:
    return f"{percent(found.share)} ({confidence * 100:g} % CI {interval(found.low, found.high)})"


def _promise(found: Confirmation) -> str:
    """How often the promise was kept, where somebody broke it."""
    runs = len(found.pairs)
    who = [("It", found.kept), ("The default", found.default_kept)]
    return " ".join(f"{name} kept every constraint in {kept} of {runs} runs." for name, kept in who if kept < runs)
