"""What a search saves and loses by ending on a plateau: `serving` on landscapes whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/plateau.py [--seeds 20] [--trials 40] [--shares 0.005 0.01 0.02 0.05]

Each run plays all its trials; what it would have done with `budget.plateau` is read off it, since a search that ends
earlier is the same until then. The loss is the gain that the remaining trials did bring, in the true objective of the
best feasible configuration that was tried. Prints one Markdown table of the shares, and one of the estimates against
what came true. About 20 s of CPU a run; `--keep` is a folder for the runs, so that it can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

import numpy as np
from search.known import known_against
from search.landscape import Landscape, Truth
from search.landscapes import OWN
from search.methods import Ours

from optuna_tuner.search.outlook import PATIENCE

LOOKS = (0.005, 0.02, 0.1)  # estimates are told apart by these


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One search to its end.

    Attributes:
        best: after each trial, the true objective of the best feasible configuration; None where there is none.
        outlooks: after so many trials, what the others could bring; without those after which nothing could be said.
        maximize: whether more is better.

    """

    best: tuple[float | None, ...]
    outlooks: Mapping[int, float]
    maximize: bool

    def gain(self, after: int) -> float:
        """What the trials after so many did bring, as a share of the best until then."""
        before, end = self.best[after - 1], self.best[-1]
        if before is None or end is None:
            return 0.0
        return end / before - 1 if self.maximize else 1 - end / before

    def end(self, share: float) -> int:
        """After how many trials it ends with this plateau."""
        for after in range(PATIENCE, len(self.best)):
            last = [self.outlooks.get(each, 1.0) for each in range(after - PATIENCE + 1, after + 1)]
            if max(last) < share:
                return after
        return len(self.best)


def play(landscape: Landscape, seed: int, trials: int) -> Run:
    """One run, with an estimate after each trial."""
    method, rng = Ours(landscape, known_against(landscape), seed), np.random.default_rng([seed, 1])
    best: list[float | None] = []
    outlooks: dict[int, float] = {}
    for played in range(1, trials + 1):
        number, params = method.ask()
        method.tell(number, landscape.observe(params, rng))
        best.append(better(landscape, best[-1] if best else None, landscape.truth(params)))
        found = method.outlook(trials - played) if played < trials else None
        if found is not None:
            outlooks[played] = found
    return Run(best=tuple(best), outlooks=outlooks, maximize=landscape.maximize)


def better(landscape: Landscape, best: float | None, truth: Truth) -> float | None:
    """The better of both; what is not feasible does not count."""
    found = [each for each in (best, truth.objective if truth.feasible else None) if each is not None]
    return (max if landscape.maximize else min)(found, default=None)


def kept(folder: Path | None, landscape: Landscape, seed: int, trials: int) -> Run:
    """The run, played only where the folder has none of it."""
    if folder is None:
        return play(landscape, seed, trials)
    file = folder / f"{landscape.name}-{seed}-{trials}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(play(landscape, seed, trials))), encoding="utf-8")
    raw = json.loads(file.read_text(encoding="utf-8"))
    outlooks = {int(after): gain for after, gain in raw["outlooks"].items()}
    return Run(best=tuple(raw["best"]), outlooks=outlooks, maximize=raw["maximize"])


def by_share(runs: Sequence[Run], shares: Sequence[float]) -> Iterator[Sequence[str]]:
    """The first table."""
    yield ("plateau", "runs", "trials, mean", "ended before the budget", "lost, mean", "lost, 90 % of runs", "worst")
    yield ("---",) * 7
    for share in shares:
        ends = [run.end(share) for run in runs]
        lost = sorted(run.gain(end) for run, end in zip(runs, ends, strict=True))
        early = sum(end < len(run.best) for run, end in zip(runs, ends, strict=True))
        most = lost[min(len(lost) - 1, int(0.9 * len(lost)))]
        cells = [f"{len(runs)}", f"{statistics.fmean(ends):.1f}", f"{early / len(runs):.0%}"]
        yield (f"{share:.1%}", *cells, *(f"{each:.2%}" for each in (statistics.fmean(lost), most, lost[-1])))


def by_estimate(runs: Sequence[Run]) -> Iterator[Sequence[str]]:
    """The second table: what was estimated, and what came of it, over all moments of all runs."""
    yield ("estimate", "moments", "estimate, mean", "came true, mean", "more came true than estimated")
    yield ("---",) * 5
    moments = [(gain, run.gain(after)) for run in runs for after, gain in run.outlooks.items()]
    for low, high in zip((0.0, *LOOKS), (*LOOKS, inf), strict=True):
        some = [(gain, true) for gain, true in moments if low <= gain < high]
        if some:
            means = [statistics.fmean(each) for each in zip(*some, strict=True)]
            under = sum(true > gain for gain, true in some) / len(some)
            yield (
                f"{low:.1%} to {high:.1%}" if high < inf else f"above {low:.1%}",
                f"{len(some)}",
                *(f"{mean:.2%}" for mean in means),
                f"{under:.0%}",
            )


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.005, 0.01, 0.02, 0.05])
    parser.add_argument("--keep", type=Path, help="a folder for the runs; those in it are not played again")
    asked = parser.parse_args()
    runs = [kept(asked.keep, each, seed, asked.trials) for seed in range(asked.seeds) for each in OWN]
    for table in (by_share(runs, asked.shares), by_estimate(runs)):
        print("\n".join("| " + " | ".join(cells) + " |" for cells in table), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
