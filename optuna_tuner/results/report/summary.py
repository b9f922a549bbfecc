"""The first page: what to do, why, for how much load, and what to know before."""

from __future__ import annotations

from optuna_tuner.metrics import unit
from optuna_tuner.results.best import value_of
from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.diff import flag_changes
from optuna_tuner.results.rechecked import is_met, recheck_text
from optuna_tuner.results.report.benchmark import benchmark_text
from optuna_tuner.results.report.document import DecisionWord, Figure, FlagRow, GainRow, OfSearch, Summary
from optuna_tuner.results.report.efficiency import Launches, Price, efficiency
from optuna_tuner.results.report.failures import issues
from optuna_tuner.results.report.load import TAILS, THROUGHPUTS
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.results.why import Why
from optuna_tuner.search.gain import Decision
from optuna_tuner.store.records import AttemptKind

BY_VERDICT: dict[Decision, OfSearch] = {
    Decision.WIN: "deploy",
    Decision.TIE: "keep the default",
    Decision.LOSS: "keep the default",
    Decision.INCONCLUSIVE: "not decided",
}


def summary(study: StudyView, launches: Launches, price: Price | None, why: Why | None) -> Summary:
    """All of it; without a feasible trial only what went wrong."""
    best, confirmation = study.best.trial, study.confirmation
    return Summary(
        decision=_decision(study),
        text=_text(study),
        trial=best.number if best else None,
        level=best.level if best else "",
        flags=_flags(study, best) if best else (),
        command=launches.command(best) if best else "",
        gains=_gains(study, best) if best and not study.spec.is_benchmark else (),
        confidence=confirmation.confidence if confirmation else None,
        pairs=len(confirmation.pairs) if confirmation else 0,
        at_level=_at_level(best) if best else (),
        efficiency=efficiency(best, launches.gpus(best), price) if best else (),
        predicted=" ".join(filter(None, (why.text, why.ahead))) if why else "",
        beyond_speed=beyond_speed(study, best) if best else "",
        issues=issues(study),
    )


def _text(study: StudyView) -> str:
    if study.spec.is_benchmark:
        return benchmark_text(study)
    if study.older:
        return recheck_text(study)
    return study.comparison.text if study.comparison.gains else f"{study.best.text} {study.comparison.text}"


def _decision(study: StudyView) -> DecisionWord:
    if study.spec.engine.like:
        return "rehearsal"
    if study.spec.is_benchmark:
        return "measured"
    if study.older:
        words: tuple[DecisionWord, DecisionWord] = ("held", "regressed") if study.spec.gate else ("agrees", "differs")
        met = is_met(study)
        return "cannot tell" if met is None else words[not met]
    return _decision_of_search(study)


def _decision_of_search(study: StudyView) -> OfSearch:
    best, confirmation = study.best.trial, study.confirmation
    if best is None:
        return "nothing to deploy"
    if best.kind is AttemptKind.BASELINE:
        return "keep the default"
    if confirmation is None or not confirmation.pairs:
        return "not confirmed"
    return BY_VERDICT[confirmation.decisions[0]]


def _flags(study: StudyView, best: TrialView) -> tuple[FlagRow, ...]:
    resolved = study.baseline.effective_config if study.baseline else {}
    return tuple(
        FlagRow(
            flag=each.flag,
            default=each.own if each.default is None else each.default,
            engines_own=each.default is None,
            recommended=each.best,
            changed=each.differs,
        )
        for each in flag_changes(study.spec.fixed_flags, best.params, resolved)
    )


def _gains(study: StudyView, best: TrialView) -> tuple[GainRow, ...]:
    rows = []
    for place, objective in enumerate(study.spec.goals.objectives):
        gain = study.comparison.gains[place] if study.comparison.gains else None
        pairs = study.confirmation.pairs if study.confirmation else ()
        verdict = study.confirmation.decisions[place].value if study.confirmation and pairs else None
        default = value_of(study.baseline, place, objective) if study.baseline else None
        rows.append(
            GainRow(
                metric=objective.metric,
                unit=unit(objective.metric),
                direction=objective.direction,
                default=gain.baseline if gain else default,
                best=gain.best if gain else value_of(best, place, objective),
                share=gain.share if gain else None,
                low=gain.low if gain else None,
                high=gain.high if gain else None,
                verdict=verdict,
            )
        )
    return tuple(rows)


def _at_level(best: TrialView) -> tuple[Figure, ...]:
    return tuple(
        Figure(name=name, value=best.metrics[name], unit=unit(name))
        for name in (*THROUGHPUTS, *TAILS)
        if name in best.metrics
    )
