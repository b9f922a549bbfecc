"""How often a verdict is right: studies on paper whose true gain is known, with the real selection and verdict.

    python benchmarks/verdicts.py [--studies 1000] [--trials 20] [--pairs 5] [--seed 0]

Each study measures the default and then configurations, one run each; `optuna_tuner.search` chooses what is measured
again and says the verdict. In an A/A study all configurations are the default. Noise is relative, of one run: normal,
or with heavy tails (Student's t with 3 degrees of freedom, scaled to the same deviation); drift is a factor that walks
at random from run to run and is the same for all. "More pairs" goes on to twice the pairs where the verdict was
inconclusive, as a user may: a second look has a second chance to be wrong. Prints a Markdown table, with 95 % intervals
of shares (Wilson).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from paper_study import DEFAULT, PaperStudy, gave, paper_spec

from optuna_tuner.search.confirmation import Confirmation
from optuna_tuner.search.gain import Decision
from optuna_tuner.store.records import Outcome
from optuna_tuner.values import Params

SPEED = 1000.0  # of the default, in any unit
NONE = "none"  # the search itself saw nothing better than the default

Truth = Callable[[Params], float]  # the gain over the default, as a share


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of world: what is true, and what hides it."""

    name: str
    truth: Truth
    noise: float
    heavy: bool = False
    drift: float = 0.0  # standard deviation of the step from run to run
    more_pairs: bool = False


def nothing(_: Params) -> float:
    """An A/A study: all are the default."""
    return 0.0


def one_of(gain: float) -> Truth:
    """One configuration has this gain; the others are worse than the default, by up to 20 %."""
    return lambda params: gain if place(params) == 7 else -0.2 * (place(params) * 37 % 100) / 100  # noqa: PLR2004


def steps_to(gain: float) -> Truth:
    """Many configurations are better, in small steps, up to this gain."""
    return lambda params: gain * (place(params) % 10 + 1) / 10


def all_of(gain: float) -> Truth:
    """Every configuration but the default has this gain."""
    return lambda _: gain


def place(params: Params) -> int:
    """Which configuration it is."""
    return int(params.flags["x"])


CASES = (
    Case(name="A/A, noise 1 %", truth=nothing, noise=0.01),
    Case(name="A/A, noise 5 %", truth=nothing, noise=0.05),
    Case(name="A/A, noise 5 %, heavy tails", truth=nothing, noise=0.05, heavy=True),
    Case(name="A/A, noise 1 %, drift 1 % a run", truth=nothing, noise=0.01, drift=0.01),
    Case(name="A/A, noise 5 %, more pairs", truth=nothing, noise=0.05, more_pairs=True),
    Case(name="all 1 % better, noise 3 %: not above the smallest gain", truth=all_of(0.01), noise=0.03),
    Case(name="all 3 % worse, noise 3 %", truth=all_of(-0.03), noise=0.03),
    Case(name="one 5 % better, noise 1 %", truth=one_of(0.05), noise=0.01),
    Case(name="one 5 % better, noise 1 %, drift 1 % a run", truth=one_of(0.05), noise=0.01, drift=0.01),
    Case(name="one 5 % better, noise 3 %, more pairs", truth=one_of(0.05), noise=0.03, more_pairs=True),
    Case(name="up to 10 % better, noise 3 %", truth=steps_to(0.10), noise=0.03),
    Case(name="up to 30 % better, noise 5 %", truth=steps_to(0.30), noise=0.05),
)


class World:
    """Measures configurations of one study."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self._case, self._rng, self._walk = case, rng, 0.0

    def measure(self, params: Params) -> Outcome:
        """One run."""
        case = self._case
        self._walk += case.drift * self._rng.standard_normal()
        draw = self._rng.standard_t(3) / math.sqrt(3) if case.heavy else self._rng.standard_normal()
        return gave(SPEED * (1 + true_gain(case, params)) * math.exp(self._walk + case.noise * draw))


def true_gain(case: Case, params: Params) -> float:
    """Over the default, as a share."""
    return 0.0 if params == DEFAULT else case.truth(params)


@dataclass(slots=True)
class Tally:
    """What was seen in the studies of one case."""

    verdicts: Counter[str] = field(default_factory=Counter)
    held: int = 0  # intervals with the truth in them
    intervals: int = 0
    runs: list[int] = field(default_factory=list)
    searched: list[float] = field(default_factory=list)  # how far the search's figure is above the truth
    confirmed: list[float] = field(default_factory=list)  # how far the reported one is

    def take(self, case: Case, study: PaperStudy, searched: int) -> None:
        """Count one study that has ended."""
        self.runs.append(len(study.attempts) - searched)
        found = study.confirmation
        if found is None:
            self.verdicts[NONE] += 1
            return
        self.verdicts[found.decisions[0].value] += 1
        truth = true_gain(case, found.winner.params or DEFAULT)
        self.searched.append(_seen_by_search(study, found) - truth)
        for each in filter(None, found.estimates):
            self.intervals += 1
            self.held += each.low <= truth <= each.high
            self.confirmed.append(each.share - truth)


def _seen_by_search(study: PaperStudy, found: Confirmation) -> float:
    default, winner = study.attempts[0].outcome, found.winner.outcome
    return winner.values[0] / default.values[0] - 1 if winner and default else 0.0


def play(case: Case, studies: int, trials: int, pairs: int, seed: int) -> Tally:
    """So many studies of one case."""
    tally = Tally()
    specs = [paper_spec(confirm={"pairs": count}) for count in (pairs, 2 * pairs)]
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        study = PaperStudy(specs[0], World(case, rng).measure)
        study.search([Params(flags={"x": int(x)}) for x in rng.permutation(trials - 1)])
        found = study.confirm()
        if case.more_pairs and found is not None and Decision.INCONCLUSIVE in found.decisions:
            study.spec = specs[1]
            study.confirm()
        tally.take(case, study, trials)
    return tally


def share(count: int, whole: int) -> str:
    """A share of a count, with its interval (Wilson 1927)."""
    if not whole:
        return ""
    z, p = 1.96, count / whole
    middle, half = p + z * z / (2 * whole), z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole))
    low, high = (max(0.0, (middle + sign * half) / (1 + z * z / whole)) for sign in (-1, 1))
    return f"{p:.1%} ({low:.1%} to {high:.1%})"


def row(case: Case, tally: Tally, studies: int) -> Sequence[str]:
    """A line of the table."""
    counts = tally.verdicts
    others = [f"{counts[name] / studies:.0%}" for name in ("tie", "loss", "inconclusive", NONE)]
    bias = [f"{statistics.fmean(each):+.1%}" if each else "" for each in (tally.searched, tally.confirmed)]
    runs = f"{statistics.fmean(tally.runs):.1f}"
    return (case.name, share(counts["win"], studies), *others, share(tally.held, tally.intervals), *bias, runs)


def rows(studies: int, trials: int, pairs: int, seed: int) -> Iterator[Sequence[str]]:
    """The table."""
    yield (
        "world",
        "win",
        "tie",
        "loss",
        "inconclusive",
        "no gain seen",
        "interval holds the truth",
        "search's figure over the truth",
        "reported one",
        "runs more",
    )
    yield ("---",) * 10
    for case in CASES:
        yield row(case, play(case, studies, trials, pairs, seed), studies)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"studies": 1000, "trials": 20, "pairs": 5, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    for cells in rows(options.studies, options.trials, options.pairs, options.seed):
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
