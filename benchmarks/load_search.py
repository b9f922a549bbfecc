"""How often the search for the most load is right, and how many probes it takes. Half a minute of CPU.

    python benchmarks/load_search.py [--cases 400] [--seed 2]

Simulated servers: configurations of the landscapes, each under promises up to twice as tight or as loose as the
landscape's. "Right" is within 10 % of the true load, the precision, or the next whole number. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from math import exp
from random import Random
from statistics import fmean

from load_cases import Case, cases
from search.landscapes import OWN

from optuna_tuner.search.load import Probe, sustained

NOISE = (0.0, 0.02, 0.05)  # standard deviation of the logarithm of each metric, from one measurement to the next
HEAD = "| begins at | noise | right | too high | too low | probes | most probes |\n|---|---|---|---|---|---|---|"


def searched(case: Case, noise: float, random: Random, rival: float | None, *, rough: bool) -> list[Probe]:
    """All probes of one search."""
    each, probes = case.search(rival, rough=rough), list[Probe]()
    while (load := each.next(probes)) is not None:
        excess = case.excess(load.value, lambda: exp(noise * random.gauss(0, 1)))
        probes.append(Probe(load=load.value, excess=excess))
    return probes


def row(
    some: Sequence[Case], noise: float, behind: tuple[float, float] | None, *, rough: bool = False
) -> Iterator[str]:
    """The cells of one row. `behind`: the rival's load over the truth is between these."""
    random, right, high, counts = Random(5), 0, 0, list[int]()  # noqa: S311  noise, no secret
    for case in some:
        truth = case.truth() or 0.0
        rival = case.range.at(truth * random.uniform(*behind)).value if behind else None
        probes = searched(case, noise, random, rival, rough=rough)
        found = sustained(probes)
        counts.append(len(probes))
        right += case.agrees(found)
        high += found is not None and found > truth and not case.agrees(found)
    yield f"{100 * noise:.0f} %"
    yield f"{100 * right / len(some):.1f} %"
    yield f"{100 * high / len(some):.1f} %"
    yield f"{100 * (len(some) - right - high) / len(some):.1f} %"
    yield f"{fmean(counts):.1f}"
    yield f"{max(counts)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400, help="simulated servers")
    parser.add_argument("--seed", type=int, default=2, help="which ones")
    asked = parser.parse_args(argv)
    some = cases(OWN, asked.seed, asked.cases)
    print(HEAD)
    for noise in NOISE:
        print(f"| the middle of the range | {' | '.join(row(some, noise, None))} |")
    for noise in NOISE:
        print(f"| the best so far, 0.6 to 1.3 of the truth | {' | '.join(row(some, noise, (0.6, 1.3)))} |")
    for noise in NOISE:
        told = row(some, noise, (1.2, 4.0), rough=True)
        print(f"| the best so far, 1.2 to 4 times the truth: roughly | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
