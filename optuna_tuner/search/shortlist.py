"""Candidates and their worth, of which those that are known to be wrong drop out as they come to the top."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

from optuna_tuner.search.candidates import Key, key_of
from optuna_tuner.search.encoding import Configuration, Vector

EXAMINED = 256  # candidates that are asked about for one suggestion: an engine's rules take up to a millisecond each

Worth = Callable[[Sequence[Configuration]], Vector]


class Shortlist:
    """Each candidate once, and none that was tried. `refused` has those that dropped out, with the reasons."""

    def __init__(
        self,
        worth: Worth,
        objection: Callable[[Configuration], str | None],
        tried: Collection[Key],
        examined: int = EXAMINED,
    ) -> None:
        self._worth, self._objection, self._tried, self._examined = worth, objection, tried, examined
        self._worths: dict[Key, tuple[float, Configuration]] = {}
        self._allowed: set[Key] = set()
        self.refused: dict[Key, str] = {}

    def add(self, candidates: Iterable[Configuration]) -> None:
        """Take in those that are new."""
        new = {key_of(each): each for each in candidates}
        new = {key: each for key, each in new.items() if key not in self._tried and key not in self._worths}
        if new:
            worths = self._worth(list(new.values()))
            self._worths |= {key: (float(worth), new[key]) for key, worth in zip(new, worths, strict=True)}

    def top(self, count: int) -> Sequence[Configuration]:
        """The worthiest ones that nothing speaks against; fewer where there are not so many."""
        return list(islice(self._good(), count))

    @property
    def best(self) -> float:
        """The worth of the worthiest of those; 0 where there is none."""
        return next((self._worths[key_of(one)][0] for one in self._good()), 0.0)

    def _good(self) -> Iterator[Configuration]:
        for key, (_, one) in sorted(self._worths.items(), key=lambda item: -item[1][0]):
            if key not in self._allowed and key not in self.refused:
                if len(self._allowed) + len(self.refused) >= self._examined:
                    return
                reason = self._objection(one)
                if reason is None:
                    self._allowed.add(key)
                else:
                    self.refused[key] = reason
            if key in self._allowed:
                yield one
