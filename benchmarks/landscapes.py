"""Looks at every configuration of every landscape, and prints what kind of a search each one is. A minute of CPU.

    python benchmarks/landscapes.py [--only NAME] [--tables FOLDER]

Prints a Markdown table. "Fails" are the configurations that give no objective; "breaks" those that run but keep no
promise at any load level. All shares are of all configurations. `--tables` is a folder with tabulated landscapes.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from search.landscape import Landscape, Truth
from search.landscapes import OWN
from search.tabulated import TABLES, tabulated

from optuna_tuner.search.grid import configurations
from optuna_tuner.values import Cause

HEAD = (
    "| landscape | configurations | refused | out of memory | breaks | feasible | within 10 % | within 5 % | default "
    "| best of first | ms each |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
MEMORY = {Cause.OUT_OF_MEMORY_POOL, Cause.OUT_OF_MEMORY_HEADROOM, Cause.OUT_OF_MEMORY_RUNTIME}


def quality(landscape: Landscape, truth: Truth) -> float:
    """Of the optimum, 0 to 1; 0 for what is not feasible."""
    if not truth.feasible or truth.objective is None:
        return 0.0
    optimum = landscape.optimum
    return truth.objective / optimum if landscape.maximize else optimum / truth.objective


def row(landscape: Landscape) -> Iterator[str]:
    """The cells of one landscape."""
    began = time.process_time()
    truths = [landscape.truth(each) for each in configurations(landscape.space)]
    each_ms = 1e3 * (time.process_time() - began) / len(truths)
    causes = Counter(truth.cause for truth in truths)
    reached = [quality(landscape, truth) for truth in truths]

    def share(count: int) -> str:
        return f"{100 * count / len(truths):.3g} %"

    yield f"`{landscape.name}`"
    yield f"{len(truths):,}"
    yield share(causes[Cause.BAD_COMBINATION])
    yield share(sum(causes[cause] for cause in MEMORY))
    yield share(sum(truth.cause is None and not truth.feasible for truth in truths))
    yield share(sum(truth.feasible for truth in truths))
    yield share(sum(value >= 0.9 for value in reached))  # noqa: PLR2004  as the head says
    yield share(sum(value >= 0.95 for value in reached))  # noqa: PLR2004  likewise
    yield f"{quality(landscape, landscape.truth(landscape.default)):.2f}"
    yield f"{max((quality(landscape, landscape.truth(each)) for each in landscape.first), default=0.0):.2f}"
    yield f"{each_ms:.2f}"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="landscapes whose name has this in it")
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder with tabulated landscapes")
    asked = parser.parse_args(argv)
    print(HEAD)
    for landscape in (*OWN, *tabulated(asked.tables)):
        if asked.only in landscape.name:
            print(f"| {' | '.join(row(landscape))} |", flush=True)


if __name__ == "__main__":
    main()
