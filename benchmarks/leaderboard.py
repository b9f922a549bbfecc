"""The leaderboard of tuners: every method on every landscape, from many seeds, with the same number of trials.

    python benchmarks/leaderboard.py --seeds 20 --trials 30 --jobs 2
    python benchmarks/leaderboard.py --methods serving "TPE, constraints" --landscapes vllm_dense --parallel 4

Prints one table over all landscapes and one for each, and writes every run and a plot of the regrets to `--out`.
`--tables` is a folder with tabulated landscapes. With `--keep FOLDER` each run is written there when it has ended, and
what is there is not played again: an interrupted contest goes on where it stopped, and methods whose packages do not go
together can be played in an environment each, and printed together. A method whose package is missing is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from scipy.stats import bootstrap
from search.contest import Run, kept, play, trials_to, within
from search.known import known_against
from search.landscape import Landscape
from search.landscapes import OWN
from search.methods import METHODS, missing_for
from search.tabulated import TABLES, tabulated

COLUMNS = (
    *("method", "landscape", "runs", "within 5 %", "within 2 %", "trials to 5 %", "to 2 %"),
    *("failed", "regret", "GPU h", "CPU s an ask"),
)
HEAD_OF_PAIRS = "| method | regret, more than that of {} (95 %) |"

Runs = Mapping[tuple[str, str], Sequence[Run]]  # by method and landscape
PLAYED: dict[str, Landscape] = {}  # in this process, by name


def main() -> int:
    """Play, print, write."""
    arguments = parsed()
    landscapes = all_landscapes(arguments.tables)
    names = arguments.landscapes or list(landscapes)
    methods = [each for each in arguments.methods if playable(each, names, arguments)]
    found = contested({name: landscapes[name] for name in names}, methods, arguments)
    print(table(found, methods, {name: len(landscapes[name].slot.gpus) for name in names}, arguments.trials))
    print(pairs(found, methods, names))
    if arguments.out:
        write(found, arguments.out)
    return 0


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = parser_of(__doc__, list(METHODS))
    parser.add_argument("--tables", type=Path, default=TABLES, help="a folder with tabulated landscapes")
    parser.add_argument("--out", type=Path, help="a folder for runs.json and regrets.html")
    return parser.parse_args()


def parser_of(about: str | None, methods: Sequence[str]) -> argparse.ArgumentParser:
    """What every contest is asked for; `methods` are those by default."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=methods, metavar="METHOD")
    parser.add_argument("--landscapes", nargs="+", metavar="NAME", help="all of them by default")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--parallel", type=int, default=1, help="trials at any time in one run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at any time")
    parser.add_argument("--keep", type=Path, help="a folder for the runs; those in it are not played again")
    return parser


def contested(landscapes: Mapping[str, Landscape], methods: Sequence[str], arguments: argparse.Namespace) -> Runs:
    """Every method on each of the landscapes, from all seeds."""
    cases = [(method, name, seed) for method in methods for name in landscapes for seed in range(arguments.seeds)]
    found: dict[tuple[str, str], list[Run]] = {}
    for name in dict.fromkeys(name for method, name, seed in cases if not is_kept(method, name, seed, arguments)):
        prepare(landscapes[name])
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a run has one core
    with ProcessPoolExecutor(arguments.jobs, initializer=begin, initargs=(landscapes,)) as pool:
        jobs = [(case, pool.submit(one, *case, arguments)) for case in cases]
        for done, ((method, name, _), job) in enumerate(jobs, 1):
            found.setdefault((method, name), []).append(job.result())
            sys.stderr.write(f"\r{done} of {len(jobs)} runs")
    sys.stderr.write("\n")
    return found


def begin(landscapes: Mapping[str, Landscape]) -> None:
    """What a process does before its first run."""
    os.nice(5)
    PLAYED.update(landscapes)


def prepare(landscape: Landscape) -> None:
    """Look for its optimum, or its front, once: all runs inherit it."""
    landscape.optimum  # noqa: B018
    landscape.front  # noqa: B018


def all_landscapes(folder: Path) -> Mapping[str, Landscape]:
    """By name: our own, and the tabulated ones where they are."""
    return {each.name: each for each in (*OWN, *tabulated(folder))}


def playable(method: str, names: Sequence[str], arguments: argparse.Namespace) -> bool:
    """Whether it can be played here, or was played elsewhere already; says so where it was not."""
    module = missing_for(method)
    cases = ((name, seed) for name in names for seed in range(arguments.seeds))
    if module is None or all(is_kept(method, *case, arguments) for case in cases):
        return True
    sys.stderr.write(f"{method}: left out, the module {module} is not installed\n")
    return False


def is_kept(method: str, name: str, seed: int, arguments: argparse.Namespace) -> bool:
    """Whether it was played before."""
    file = file_of(method, name, seed, arguments)
    return file is not None and file.exists()


def file_of(method: str, name: str, seed: int, arguments: argparse.Namespace) -> Path | None:
    """Where a run is kept; None where none is."""
    folder: Path | None = arguments.keep
    word = re.sub(r"[^a-z0-9.]+", "-", method.lower())
    return None if folder is None else folder / f"{word}_{name}_{seed}_{arguments.trials}x{arguments.parallel}.json"


def one(method: str, name: str, seed: int, arguments: argparse.Namespace) -> Run:
    """One run, in a process of its own; played only where it is not kept."""

    def played() -> Run:
        landscape = PLAYED[name]
        return play(METHODS[method], landscape, known_against(landscape), seed, arguments)

    return kept(file_of(method, name, seed, arguments), played)


def table(found: Runs, methods: Sequence[str], gpus: Mapping[str, int], trials: int) -> str:
    """Markdown: each method over all landscapes, then on each; `gpus` are those that a trial holds, by landscape."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for method in methods:
        held = [(run, count) for name, count in gpus.items() for run in found[method, name]]
        lines.append(row(method, "all", held, trials))
    for name, count in gpus.items():
        lines += [row(method, name, [(run, count) for run in found[method, name]], trials) for method in methods]
    return "\n".join(lines)


def row(method: str, name: str, held: Sequence[tuple[Run, int]], trials: int) -> str:
    """One line of runs, each with the GPUs that it held; the interval is that of the share within 5 %, at 95 %."""
    runs = [run for run, _ in held]
    near, low, high = within(runs, 0.05, trials), *wilson(within(runs, 0.05, trials), len(runs))
    cells = [
        method,
        name,
        str(len(runs)),
        f"{near:.0%} ({low:.0%} to {high:.0%})",
        f"{within(runs, 0.02, trials):.0%}",
        f"{trials_to(runs, 0.05):.0f}",
        f"{trials_to(runs, 0.02):.0f}",
        f"{np.mean([run.failed for run in runs]):.1%}",
        f"{np.mean([run.regrets[-1] for run in runs]):.1%}",
        f"{np.mean([run.trials_s * count for run, count in held]) / 3600:.1f}",
        f"{np.mean([run.ask_s for run in runs]):.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def pairs(found: Runs, methods: Sequence[str], names: Sequence[str], head: str = HEAD_OF_PAIRS) -> str:
    """Markdown: how much worse each method is than the first one, run by run with the same landscape and seed."""
    first, *others = methods
    lines = [head.format(first), "|---|---|"]
    for method in others:
        more = [
            one.regrets[-1] - best.regrets[-1]
            for name in names
            for one, best in zip(found[method, name], found[first, name], strict=True)
        ]
        low, high = bootstrap((more,), np.mean, rng=np.random.default_rng(0)).confidence_interval
        lines.append(f"| {method} | {np.mean(more):.1%} ({low:.1%} to {high:.1%}) |")
    return "\n".join(lines)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927)."""
    z = 1.96
    middle, spread = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return max(0.0, float((middle - spread) / (1 + z * z / count))), float((middle + spread) / (1 + z * z / count))


def write(found: Runs, folder: Path) -> None:
    """Every run, and the median regret after each trial, by landscape."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [
        {"method": method, "landscape": name, "seed": seed} | asdict(run)
        for (method, name), each in found.items()
        for seed, run in enumerate(each)
    ]
    (folder / "runs.json").write_text(json.dumps(runs), encoding="utf-8")
    figure = go.Figure()
    for (method, name), each in found.items():
        medians = np.median([run.regrets for run in each], axis=0)
        figure.add_scatter(y=medians, name=method, legendgroup=name, legendgrouptitle_text=name, mode="lines")
    figure.update_layout(xaxis_title="trials", yaxis_title="median regret", yaxis_type="log")
    figure.write_html(folder / "regrets.html", include_plotlyjs="cdn")


if __name__ == "__main__":
    sys.exit(main())
