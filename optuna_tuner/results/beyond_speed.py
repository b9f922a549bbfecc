"""What a configuration changes beside the speed, in words."""

from __future__ import annotations

from collections.abc import Iterable

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.spec.effects import altered, effects
from optuna_tuner.store.records import AttemptKind
from optuna_tuner.values import Drift, Phase


def beyond_speed(study: StudyView, trial: TrialView) -> str:
    """What a trial changes beside the speed, and how far its answers are from the default's; empty for nothing.

    In a study whose flags change nothing but the speed there is nothing to say.
    """
    if trial.kind is AttemptKind.BASELINE:
        return f"its answers are the reference; asked twice, {_noise(trial.drift)}" if trial.drift else ""
    if not effects(study.spec):
        return ""
    found = altered(study.spec, trial.params, study.baseline.effective_config if study.baseline else {})
    answers = _flags(trial, (name for name, effect in found.items() if effect is Effect.QUALITY))
    promised = _flags(trial, (name for name, effect in found.items() if effect is Effect.PRODUCT))
    said = [f"changes the answers: {answers} ({_likeness(study, trial)})"] if answers else []
    said += [f"changes what clients are promised: {promised}"] if promised else []
    return "; ".join(said) or "changes nothing: no flag of it changes the answers or what clients are promised"


def _flags(trial: TrialView, names: Iterable[str]) -> str:
    return " ".join(f"{name}={trial.params[name]}" for name in names)


def _likeness(study: StudyView, trial: TrialView) -> str:
    if trial.drift is None:
        asked = Phase.QUALITY in trial.phases_s
        return "asked, it gave no answers" if asked else "not held against the default's"
    noise = study.baseline.drift if study.baseline else None
    floor = f"; the default with itself {_figures(noise)}" if noise else ""
    return f"agreement with the default {_figures(trial.drift)}, over {len(trial.drift.by_prompt)} prompts{floor}"


def _noise(drift: Drift) -> str:
    return f"they agree with themselves {_figures(drift)}, over {len(drift.by_prompt)} prompts"


def _figures(drift: Drift) -> str:
    nats = "" if drift.logprob_drift is None else f" and {drift.logprob_drift:.2g} nats a token"
    return f"{drift.agreement:.2f}{nats}"
