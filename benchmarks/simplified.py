"""Studies on paper whose winner has idle flags: what is left out, what is lost by it, and what it costs.

    python benchmarks/simplified.py [--studies 500] [--pairs 5] [--simplify 3] [--seed 0]

The winner of each study sets eight flags, of which some are worth something. What is predicted of each is its worth
with an error. Which configurations are measured and what is made of them, decides the code that decides it for real
studies. Noise is relative, of one run, and normal. Prints a Markdown table; 95 % intervals of shares (Wilson).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from paper_study import PaperStudy, gave, paper_spec
from verdicts import share

from optuna_tuner.search.gain import Decision
from optuna_tuner.search.worth import FlagWorth, Loss, Worths, drops_of
from optuna_tuner.store.records import Drops, Outcome
from optuna_tuner.values import Params

FLAGS = "abcdefgh"
SPEED = 1000.0  # of the default, in any unit
MARGIN = 0.01  # the study's smallest gain that counts
FULL = Params(flags=dict.fromkeys(FLAGS, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What each of the flags is worth, as a share; how noisy a run is, and how wrong a prediction."""

    name: str
    worths: Sequence[float]
    noise: float
    error: float


THREE = (0.15, 0.08, 0.04, 0, 0, 0, 0, 0)
WORLDS = (
    World(name="three of eight matter, noise 1 %", worths=THREE, noise=0.01, error=0.002),
    World(name="three of eight matter, noise 1 %, predictions wrong by 3 %", worths=THREE, noise=0.01, error=0.03),
    World(name="three of eight matter, noise 3 %", worths=THREE, noise=0.03, error=0.002),
    World(name="all matter a little: 2 % each, noise 1 %", worths=(0.02,) * 8, noise=0.01, error=0.002),
    World(name="all matter a little: 0.8 % each, noise 1 %", worths=(0.008,) * 8, noise=0.01, error=0.002),
    World(name="A/A: none matters, noise 3 %", worths=(0.0,) * 8, noise=0.03, error=0.002),
)


@dataclass(slots=True)
class Tally:
    """What was seen in the studies of one world."""

    wins: int = 0
    simpler: int = 0
    flags: list[int] = field(default_factory=list)  # of what is recommended, in studies with a win
    lost: list[float] = field(default_factory=list)  # truly, of the winner's value
    bias: list[float] = field(default_factory=list)  # how far the reported gain is above the truth
    held: int = 0  # intervals with the truth in them
    runs: list[int] = field(default_factory=list)  # more than without, in studies with a win

    def take(self, world: World, study: PaperStudy) -> None:
        """Count one study that has ended."""
        found, simplified = study.confirmation, study.simplification
        if found is None or found.decisions[0] is not Decision.WIN:
            return
        self.wins += 1
        best = simplified.best if simplified else None
        params = best.params if best else FULL
        estimate = (best.gain if best and best.gain else found).estimates[0]
        truth = true_speed(world, params) / SPEED - 1
        self.simpler += best is not None
        self.flags.append(len(params.flags))
        self.lost.append(1 - true_speed(world, params) / true_speed(world, FULL))
        self.runs.append(
            sum(2 * len(step.against.pairs) for step in simplified.steps if step.against) if simplified else 0
        )
        if estimate is not None:
            self.bias.append(estimate.share - truth)
            self.held += estimate.low <= truth <= estimate.high


def true_speed(world: World, params: Params) -> float:
    """Of a configuration, without noise."""
    return SPEED * math.prod(1 + worth for name, worth in zip(FLAGS, world.worths, strict=True) if name in params.flags)


def simplified_study(measure: Callable[[Params], Outcome], flags: str = FLAGS, **confirm: object) -> PaperStudy:
    """One that has measured its default, and a configuration that sets every flag."""
    space = {name: {"type": "int", "low": 0, "high": 1} for name in flags}
    study = PaperStudy(paper_spec(confirm=confirm, space=space), measure)
    study.search([Params(flags=dict.fromkeys(flags, 1))])
    return study


def predicted(world: World, rng: np.random.Generator, winner: Params) -> Drops:
    """The true worths, with an error that is known."""
    worths = []
    for name, truth in zip(FLAGS, world.worths, strict=True):
        loss = Loss(share=truth / (1 + truth) + world.error * rng.standard_normal(), error=world.error, holds=1.0)
        worths.append(FlagWorth(flag=name, value=1, default=0, loss=loss, needed=loss.risk > MARGIN))
    nothing = Loss(share=0.0, error=0.0, holds=1.0)
    return drops_of(winner, Worths(flags=tuple(worths), loss=nothing, default={}), MARGIN)


def play(world: World, options: argparse.Namespace) -> Tally:
    """So many studies of one world."""
    tally = Tally()
    for number in range(options.studies):
        rng = np.random.default_rng([options.seed, number])

        def measure(params: Params, rng: np.random.Generator = rng) -> Outcome:
            return gave(true_speed(world, params) * math.exp(world.noise * rng.standard_normal()))

        study = simplified_study(measure, pairs=options.pairs, simplify=options.simplify, min_gain=MARGIN)
        study.confirm(lambda winner, rng=rng: predicted(world, rng, winner))  # type: ignore[misc]
        tally.take(world, study)
    return tally


HEAD = (
    "world",
    "wins",
    "simplified, of these",
    "flags, mean",
    "lost, mean",
    "lost, 95 % of studies",
    "reported gain over the truth",
    "interval holds the truth",
    "runs more",
)


def rows(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """The table."""
    yield HEAD
    yield ("---",) * len(HEAD)
    for world in WORLDS:
        tally = play(world, options)
        said = (world.name, share(tally.wins, options.studies))
        if not tally.wins:
            yield (*said, *[""] * (len(HEAD) - len(said)))
            continue
        yield (
            *said,
            f"{tally.simpler / tally.wins:.0%}",
            f"{statistics.fmean(tally.flags):.1f}",
            f"{statistics.fmean(tally.lost):.2%}",
            f"{float(np.quantile(tally.lost, 0.95)):.2%}",
            f"{statistics.fmean(tally.bias):+.2%}",
            share(tally.held, tally.wins),
            f"{statistics.fmean(tally.runs):.1f}",
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"studies": 500, "pairs": 5, "simplify": 3, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    for cells in rows(options):
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
