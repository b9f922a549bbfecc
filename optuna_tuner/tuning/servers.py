"""The servers that a study knows already: the same effective server is measured once.

An attempt whose server is known ends with what the first one gave, and its trial of the budget is given back. What is
certain before a launch is the engine's `identity`; what a running server tells of itself may show more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from optuna_tuner.metrics import SUSTAINED
from optuna_tuner.search.objection import Objection, first_of, remembered
from optuna_tuner.store.records import AttemptKind, AttemptRecord, Outcome, Verdict
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.newly_ended import NewlyEnded
from optuna_tuner.tuning.objections import known_bad
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.values import Blame, Cause, Params, Phase, Scalar, Slot

Identity = Mapping[str, Scalar]


class SameServerError(Exception):
    """The attempt would measure a server that the study knows; `outcome` is what it ends with instead."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(slots=True)
class Known:
    """The servers that are known: what the first one gave, by all that it can be found by."""

    asked: dict[str, Outcome] = field(default_factory=dict)  # by parameters and identity, also of rejected ones
    launched: dict[str, Outcome] = field(default_factory=dict)  # by identity
    resolved: dict[str, Outcome] = field(default_factory=dict)  # by what the server told, and the rest of the identity
    taken: Mapping[str, int] = field(default_factory=dict)  # trials that run now, by identity

    def trial_of(self, params: Params, key: str) -> int | None:
        """The trial that measured the server of these parameters, or measures it now; None for a new one."""
        found = self.asked.get(_asked(params, key)) or self.launched.get(key)
        return found.same_as if found is not None else self.taken.get(key)


class Servers:
    """The servers of one worker's study: those that were measured, and those that others measure at this moment."""

    def __init__(self, setting: Setting) -> None:
        self._setting, self._engine = setting, setting.parts.engine
        self._ended = NewlyEnded(setting.store, setting.study_id)
        self._known, self._seen = Known(), Known()
        self._sustained: dict[str, float] = {}

    def identity(self, params: Params) -> Identity:
        """What a server of these parameters will run with, as far as that is certain."""
        return self._identity(params, self._setting.slot)

    def _identity(self, params: Params, slot: Slot) -> Identity:
        return self._engine.identity(self._setting.model, params, slot)

    def key(self, params: Params) -> str:
        """Equal for equal identities."""
        return _text(self.identity(params))

    def known(self) -> Known:
        """What is known now, of what has ended and of what runs."""
        self._learn()
        return replace(self._known, taken=self._taken())

    def look(self) -> None:
        """See what is known at this moment, for `why_not`."""
        self._seen = self.known()

    def why_not(self, params: Params) -> str | None:
        """What spoke against a configuration at the last look."""
        trial = self._seen.trial_of(params, self.key(params))
        return None if trial is None else f"the same server as trial {trial}"

    def most_sustained(self, metric: str) -> float | None:
        """The most load, by this name, that a server of the study sustains; None while none does."""
        self._learn()
        return self._sustained.get(metric)

    def raise_if_asked_before(self, journal: Journal) -> None:
        """Raise SameServerError where just this was asked for before: it was rejected, or gave what it gives."""
        if self._may_repeat(journal):
            self._learn()
            self._raise_if_in(self._known.asked, _asked(journal.params, _text(journal.identity)))

    def raise_if_launched_before(self, journal: Journal) -> None:
        """Raise SameServerError where the same server was measured, or is measured by another worker now.

        For parameters that nothing is known against: what the engine refuses, it refuses as it was asked for.
        """
        if self._may_repeat(journal):
            self._raise_if_in(self._known.launched, _text(journal.identity))
            twin = self._running_twin(journal)
            if twin is not None:
                reason = f"the same server as trial {twin}, which runs at this moment: not measured again"
                raise SameServerError(Outcome(verdict=Verdict.FAIL, cause=Cause.REPEATED, reason=reason, same_as=twin))

    def raise_if_resolved_before(self, journal: Journal) -> None:
        """Raise SameServerError where the running server tells that it is one that was measured."""
        told = journal.effective_config
        if told and self._may_repeat(journal):
            self._learn()
            self._raise_if_in(self._known.resolved, self._resolved(journal.identity, told))

    def _may_repeat(self, journal: Journal) -> bool:
        """The baseline is what all are compared with, so it is always measured; so is what is to be measured again."""
        kind = journal.attempt.kind
        return not (self._setting.spec.sampler.measure_again or kind is AttemptKind.BASELINE or kind.again)

    def _raise_if_in(self, known: Mapping[str, Outcome], key: str) -> None:
        if (found := known.get(key)) is not None:
            raise SameServerError(found)

    def _running_twin(self, journal: Journal) -> int | None:
        """Of two that run, the one that was asked for first goes on."""
        number, mine = journal.attempt.number, _text(journal.identity)
        return next(
            (other for key, other in self._taken().items() if key == mine and number is not None and other < number),
            None,
        )

    def _taken(self) -> Mapping[str, int]:
        """The servers that are measured now, each with the first of its trials."""
        found: dict[str, int] = {}
        for other in self._setting.store.attempts.running(self._setting.study_id):
            if other.params is not None and other.number is not None and other.worker_id is not None:
                slot = self._setting.store.workers.get(other.worker_id).slot
                key = _text(self._identity(other.params, slot))
                found[key] = min(other.number, found.get(key, other.number))
        return found

    def _learn(self) -> None:
        """Take in what has ended since the last look."""
        for attempt in self._ended:
            outcome = attempt.outcome
            if outcome is not None and outcome.cause is None:
                for metric in SUSTAINED.keys() & outcome.metrics.keys():
                    self._sustained[metric] = max(outcome.metrics[metric], self._sustained.get(metric, 0.0))
            if outcome is not None and outcome.identity and attempt.params is not None and self._is_its_own(outcome):
                self._keep(attempt.params, outcome, _copy(attempt, outcome))

    def _keep(self, params: Params, outcome: Outcome, copy: Outcome) -> None:
        _add(self._known.asked, _asked(params, _text(outcome.identity)), copy)
        if outcome.cause is not Cause.REJECTED:  # what was refused as it was asked for may run if asked otherwise
            _add(self._known.launched, _text(outcome.identity), copy)
        if outcome.effective_config:
            _add(self._known.resolved, self._resolved(outcome.identity, outcome.effective_config), copy)

    def _is_its_own(self, outcome: Outcome) -> bool:
        """Whether it would end like this again: not what the machine, a user or the pruner did.

        A server that was not ready in time is no exception unless it would be given more time now.
        """
        if outcome.verdict is Verdict.FAIL or outcome.cause is Cause.PRUNED:
            return False
        if outcome.cause is Cause.NOT_READY:
            return outcome.phases_s.get(Phase.START_UP, 0.0) >= self._setting.spec.limits.startup_s
        return outcome.cause is None or outcome.cause.blame is Blame.CONFIGURATION

    def _resolved(self, identity: Identity, told: Identity) -> str:
        """Equal for servers that tell the same, and that were asked the same of all that this does not settle."""
        settled = self._engine.settled(told)
        return _text(told) + _text({name: value for name, value in identity.items() if name not in settled})


def objection_of(setting: Setting, servers: Servers) -> Objection:
    """All that the sampler keeps away from: what is known to fail, and what is known.

    A grid visits each configuration once; what repeats an earlier one ends at once, and costs nothing.
    """
    bad = remembered(known_bad(setting.spec, setting.parts, setting.model, setting.slot))
    once = setting.spec.sampler.kind == "grid" or setting.spec.sampler.measure_again
    return bad if once else first_of(bad, servers.why_not)


def _copy(attempt: AttemptRecord, outcome: Outcome) -> Outcome:
    """What an attempt ends with that would be the same: the verdict, the score, the cause, and whose they are."""
    return Outcome(
        verdict=outcome.verdict,
        values=outcome.values,
        constraints=outcome.constraints,
        cause=outcome.cause,
        reason=outcome.reason,
        exact_advice=outcome.exact_advice,
        level=outcome.level,
        load_search=outcome.load_search,
        metrics=outcome.metrics,
        same_as=attempt.number if outcome.same_as is None else outcome.same_as,
    )


def _add(known: dict[str, Outcome], key: str, copy: Outcome) -> None:
    """Of several the trial that was asked for first."""
    before = known.get(key)
    if copy.same_as is not None and (before is None or before.same_as is None or copy.same_as < before.same_as):
        known[key] = copy


def _asked(params: Params, key: str) -> str:
    return params.key + key


def _text(values: Identity) -> str:
    return json.dumps(dict(values), sort_keys=True)
