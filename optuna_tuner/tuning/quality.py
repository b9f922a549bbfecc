"""The guard of the answers: who may drift from the engine's default is asked before it is measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from threading import Event

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.clock import Deadline
from optuna_tuner.errors import DriftedError, InfrastructureError
from optuna_tuner.search.verdict import SERVER_RUNS, VIOLATED
from optuna_tuner.spec.effects import altered, asks_for_answers
from optuna_tuner.spec.quality import CONSTRAINT, Quality
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.artifacts import write_json
from optuna_tuner.store.records import AttemptKind, Outcome
from optuna_tuner.tuning.answers import ask, drift
from optuna_tuner.tuning.deployment import Server
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.values import Cause, Drift, Params, Phase, Reference, Scalar

ANSWERS_FILE = "answers.json"

logger = logging.getLogger(__name__)


def guard(server: Server, params: Params, journal: Journal, server_ended: Event) -> None:
    """Keep the baseline's answers; hold those of a candidate against them if it may answer otherwise.

    Raises DriftedError where they are too far apart, DegradedError where an answer is missing, StoppedError.
    """
    setting = server.setting
    quality = setting.spec.quality
    if quality is None or not asks_for_answers(setting.spec):
        return
    if journal.attempt.kind is AttemptKind.BASELINE:
        _keep_reference(server, quality, journal, server_ended)
        return
    baseline = setting.store.attempts.reference(setting.study_id)
    if baseline is None or baseline.outcome is None or baseline.outcome.reference is None:
        raise InfrastructureError("the baseline's answers are not in the database")  # no attempt is claimed before
    given = {**params.flags, **params.env}
    found = altered(setting.spec, given, baseline.outcome.effective_config)
    changed = {name: given[name] for name, effect in found.items() if effect is Effect.QUALITY}
    if changed:
        journal.drift = _hold(server, quality, baseline.outcome.reference, journal, server_ended)
        _demand_likeness(quality, journal.drift, changed)


def _keep_reference(server: Server, quality: Quality, journal: Journal, server_ended: Event) -> None:
    """Asked twice: how far the default is from itself is the noise that no candidate can be below."""
    with journal.phase(Phase.QUALITY):
        deadline = Deadline.after(server.setting.spec.limits.quality_s, server_ended)
        answers, again = (ask(server.endpoint, quality.asked, quality.max_tokens, deadline) for _ in range(2))
    journal.reference = Reference(prompts=quality.asked, answers=answers)
    journal.drift = drift(answers, again)
    _keep_answers(journal, journal.reference)


def _hold(server: Server, quality: Quality, reference: Reference, journal: Journal, server_ended: Event) -> Drift:
    """The prompts are those that the baseline was asked, also where another version of this package asked them."""
    with journal.phase(Phase.QUALITY):
        deadline = Deadline.after(server.setting.spec.limits.quality_s, server_ended)
        answers = ask(server.endpoint, reference.prompts, quality.max_tokens, deadline)
    _keep_answers(journal, replace(reference, answers=answers))
    return drift(reference.answers, answers)


def _keep_answers(journal: Journal, answers: Reference) -> None:
    try:
        write_json(journal.folder / ANSWERS_FILE, answers)
    except OSError as error:  # a full disk must not keep a trial from its result
        logger.warning("the answers of attempt %s are not kept: %s", journal.attempt.id, error)


def _demand_likeness(quality: Quality, found: Drift, changed: Mapping[str, Scalar]) -> None:
    if excess(quality, found) <= 0:
        return
    flags = " ".join(f"{name}={value}" for name, value in changed.items())
    nats = found.logprob_drift
    likeness = f"{found.agreement:.2f} with the default's (at least {quality.agreement_at_least:g})"
    apart = "" if nats is None else f", {nats:.2g} nats a token apart (at most {quality.logprob_drift_at_most:g})"
    raise DriftedError(f"the answers agree to {likeness}{apart}, over {len(found.by_prompt)} prompts, by {flags}")


def excess(quality: Quality, found: Drift) -> float:
    """Relative violation of the worse of both bounds; zero or less is feasible. A bound of 0 counts as 1."""
    short = (quality.agreement_at_least - found.agreement) / (quality.agreement_at_least or 1.0)
    if found.logprob_drift is None:
        return short
    return max(short, found.logprob_drift / quality.logprob_drift_at_most - 1.0)


def guarded(spec: StudySpec, outcome: Outcome) -> Outcome:
    """The outcome with the constraint `quality`, in a study that has one; each trial that Optuna learns from has it.

    A candidate that was not asked keeps it: nothing in it changes the answers. So does the baseline, by definition.
    """
    if spec.quality is None or not outcome.constraints:
        return outcome
    runs, drifted = outcome.constraints[SERVER_RUNS], 0.0
    if outcome.drift is not None and outcome.reference is None:
        drifted = excess(spec.quality, outcome.drift)
    if outcome.cause is Cause.QUALITY:
        runs = 0.0  # it did; what was not measured stays violated
    elif runs > 0:
        drifted = VIOLATED
    goals = {name: value for name, value in outcome.constraints.items() if name != SERVER_RUNS}
    return replace(outcome, constraints={SERVER_RUNS: runs, CONSTRAINT: drifted, **goals})
