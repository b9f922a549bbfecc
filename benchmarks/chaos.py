"""The fault campaign, lane by lane. Each prints its table, seed, duration and load, and ends with 1 on a violation.

    python benchmarks/chaos.py soak --database postgresql --trials 1000 --workers 8 --faults 1000 --seed 1
    python benchmarks/chaos.py kill-points --help

The lanes lie in tests/chaos, where short ones of them run with the tests.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
LANES: Mapping[str, tuple[str, str]] = {
    "soak": ("soak", "random faults of every kind in every phase, judged by an independent checker"),
    "kill-points": ("kill_points", "kill -9 at every executed line of an attempt's life"),
    "cancels": ("cancels", "cancels in every phase, and how soon the GPUs are free"),
    "outages": ("outages", "a database that is away for a minute, or restarted at once"),
    "first-starts": ("first_starts", "eight first starts at once on an empty database"),
    "endurance": ("endurance", "thousands of trials, and whether anything grows"),
    "state-machine": ("state_machine", "claim, beat, fence, cancel, budget in any order"),
    "planted-bugs": ("planted_bugs", "bugs that the suite plants into the product and must find"),
    "deployer-kills": (
        "deployer_kills",
        "kill -9 of a worker in each phase, with a real Docker or Slurm, and one reaping",
    ),
    "lies": ("lies", "corrupted benchmark reports, none of which may become a score"),
}


def main() -> int:
    """Dispatch; a lane's module is loaded only when it is asked for."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "chaos")]
    lanes = "\n".join(f"  {name:14} {about}" for name, (_, about) in LANES.items())
    front = argparse.ArgumentParser(
        description=__doc__, epilog=f"lanes:\n{lanes}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    front.add_argument("lane", choices=LANES, metavar="LANE")
    name = front.parse_args(sys.argv[1:2]).lane
    module, about = LANES[name]
    lane = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=f"chaos.py {name}", description=about)
    lane.add_arguments(parser)
    return int(lane.run(parser.parse_args(sys.argv[2:])))


if __name__ == "__main__":
    sys.exit(main())
