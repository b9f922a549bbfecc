"""What the default sampler costs as a study grows: CPU seconds of an ask, and the memory of its process.

    python benchmarks/search_cost.py [--landscape NAME] [--two-objectives] [--trials 200]

One search on one simulated landscape, in this process, with the engine's real rules. Prints a Markdown table: the asks
since the line before, and what is resident then.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
from search.known import known_against
from search.landscapes import OWN, TWO_OBJECTIVES
from search.methods import METHODS

EVERY = 50


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {each.name: each for each in OWN}
    parser.add_argument("--landscape", choices=names, default=next(iter(names)))
    parser.add_argument("--two-objectives", action="store_true", help="with one promise made an objective")
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    traded = {each.name: each for each in TWO_OBJECTIVES}
    landscape = (traded if arguments.two_objectives else names)[arguments.landscape]
    method = METHODS["serving"](landscape, known_against(landscape), 0)
    rng, taken = np.random.default_rng(0), list[float]()
    print(f"{landscape.name}, {len(landscape.space)} flags; load {os.getloadavg()[0]:.0f} at the start")
    print("| trials | CPU s an ask: median | worst | resident, MiB |\n|---|---|---|---|")
    for trial in range(1, arguments.trials + 1):
        began = time.process_time()
        number, params = method.ask()
        taken.append(time.process_time() - began)
        method.tell(number, landscape.observe(params, rng))
        if trial % EVERY == 0:
            print(f"| {trial} | {statistics.median(taken):.2f} | {max(taken):.2f} | {resident_mib():.0f} |", flush=True)
            taken.clear()


def resident_mib() -> float:
    """Of this process, now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
