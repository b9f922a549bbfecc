"""What of a study's space nobody has measured yet: looked for after a repeat, until nothing is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from random import Random

from optuna_tuner.search.grid import configurations
from optuna_tuner.search.samplers import seed_of
from optuna_tuner.spec.space import params_of
from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.tuning.servers import Servers
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.values import Params

LISTED = 1024  # configurations: a space that has no more is looked through, which takes about a second, once
REPEATS = 20  # trials in a row that were no new servers, in spite of all draws: then a larger space is exhausted, too

EVERYTHING = "every configuration of the space was measured"
NOTHING_NEW = f"the last {REPEATS} configurations were all of servers that had been measured before"


class Frontier:
    """The edge of what is known to one worker of a study."""

    def __init__(self, setting: Setting, servers: Servers) -> None:
        self._setting, self._servers = setting, servers

    def is_open(self) -> bool:
        """Whether another attempt may measure a server that nobody has measured, and that nobody measures now."""
        if self._setting.spec.sampler.measure_again or self._setting.store.attempts.waiting(self._setting.study_id):
            return True
        if self._listed is None:
            return self._is_unvisited or not self._only_repeats(REPEATS)
        return next(self._left(), None) is not None

    def exhaust(self) -> None:
        """Declare the search done; nothing where others go on, or the budget is spent.

        A study whose best is to be confirmed goes on with that.
        """
        reason = NOTHING_NEW if self._listed is None else EVERYTHING
        go_on = self._setting.spec.confirm is not None
        self._setting.store.studies.exhaust(self._setting.study_id, reason, go_on=go_on)

    def away(self, number: int) -> Params | None:
        """Parameters at random that are those of no known server, for the trial of this number.

        None where the sampler may choose by itself: the last trial was no repeat, or the space is too large to be
        looked through; the sampler's own draws keep away from what is known.
        """
        if self._setting.spec.sampler.measure_again or self._listed is None or not self._only_repeats(1):
            return None
        left = list(self._left())
        seed = seed_of(self._setting.spec.sampler.seed, f"{number} away")
        return Random(seed).choice(left) if left else None  # noqa: S311  a place in the search space, no secret

    def _left(self) -> Iterator[Params]:
        """Those of the listed configurations that are of no known server."""
        known = self._servers.known()
        return (params for params, key in (self._listed or {}).values() if known.trial_of(params, key) is None)

    @cached_property
    def _listed(self) -> Mapping[str, tuple[Params, str]] | None:
        """Every configuration with the key of its server; None for a space with more, or with endlessly many."""
        space = self._setting.spec.space
        if any(parameter.size() is None for parameter in space.values()):
            return None
        found = [params_of(space, chosen) for chosen in islice(configurations(space), LISTED + 1)]
        if len(found) > LISTED:
            return None
        return {params.key: (params, self._servers.key(params)) for params in found}

    @property
    def _is_unvisited(self) -> bool:
        """Whether a grid has configurations that it has not come to; it may be long on the way over equal servers."""
        visited = self._setting.store.attempts.searched(self._setting.study_id)
        return self._setting.spec.sampler.kind == "grid" and visited < self._size

    @cached_property
    def _size(self) -> int:
        return sum(1 for _ in configurations(self._setting.spec.space))

    def _only_repeats(self, count: int) -> bool:
        """Whether the last so many attempts of the study were all repeats."""
        ended = self._setting.store.attempts.last_ended(self._setting.study_id, count)
        return len(ended) == count and all(map(_is_repeat, ended))


def _is_repeat(attempt: AttemptRecord) -> bool:
    return attempt.outcome is not None and attempt.outcome.same_as is not None
