"""Searches with two objectives: how much of the true front each method finds, on landscapes where all is known.

    python benchmarks/two_objectives.py --seeds 8 --trials 30

The landscapes are our own of the leaderboard, with one promise made a second objective: most output or the shortest
reply, and the shortest gaps between tokens or the shortest wait for the first one. A method is scored by the
hypervolume of the truly feasible configurations that it tried, in logarithms, as a share of that of the true front,
which is known from all configurations. Prints a Markdown table over all landscapes and for each, then the differences
run by run. `--keep FOLDER` is as in leaderboard.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from leaderboard import Runs, contested, pairs, parser_of
from search.contest import Run
from search.landscapes import TWO_OBJECTIVES

METHODS = (
    "serving",
    "TPE, with rules and first points",
    "NSGA-II, with rules and first points",
    "random, with rules and first points",
    "TPE, constraints",
    "NSGA-II, constraints",
    "random",
)
SHOWN = (10, 20, 30)  # trials
HEAD_OF_PAIRS = "| method | share of the hypervolume, less than that of {} (95 %) |"


def main() -> int:
    """Play and print."""
    arguments = parser_of(__doc__, METHODS).parse_args()
    landscapes = {each.name: each for each in TWO_OBJECTIVES}
    names = arguments.landscapes or list(landscapes)
    found = contested({name: landscapes[name] for name in names}, arguments.methods, arguments)
    print(table(found, arguments.methods, names, arguments.trials))
    print()
    print(pairs(found, arguments.methods, names, HEAD_OF_PAIRS))
    return 0


def table(found: Runs, methods: Sequence[str], names: Sequence[str], trials: int) -> str:
    """Markdown: each method over all landscapes, then on each."""
    shown = sorted({each for each in SHOWN if each < trials} | {trials})
    titles = ["method", "landscape", "runs", *(f"after {each}" for each in shown), "failed", "CPU s an ask"]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    lines += [row(each, "all", [run for name in names for run in found[each, name]], shown) for each in methods]
    for name in names:
        lines += [row(method, name, found[method, name], shown) for method in methods]
    return "\n".join(lines)


def row(method: str, name: str, runs: Sequence[Run], shown: Sequence[int]) -> str:
    """One line: means over the runs."""
    shares = [f"{np.mean([1 - run.regrets[trials - 1] for run in runs]):.1%}" for trials in shown]
    cells = [method, name, str(len(runs)), *shares, f"{np.mean([run.failed for run in runs]):.1%}"]
    return f"| {' | '.join([*cells, f'{np.mean([run.ask_s for run in runs]):.3f}'])} |"


if __name__ == "__main__":
    sys.exit(main())
