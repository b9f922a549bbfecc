"""What the pruner `racing` saves and loses, on the trials of searches whose landscapes have a known optimum.

    OMP_NUM_THREADS=1 python benchmarks/early_stopping.py [--seeds 3] [--trials 30] [--tables FOLDER] [--keep FILE]

Each search by `serving` measures all levels of its trials. Then the same trials are raced: level after level it is
asked of `search/racing.py`, as workers do, whether to go on, and what was not measured is taken back. So the seconds
that are saved, and the good trials that are given up, are exact; what the sampler would have asked instead, had it been
told less, is not played. Landscapes with a single level have nothing to stop; they are in the sum. `--keep` holds the
trials that were played, and a second start goes on where the first one was ended. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from search.known import known_against
from search.landscape import Landscape
from search.landscapes import OWN
from search.methods import Ours
from search.tabulated import TABLES, tabulated

from optuna_tuner.search.racing import is_beaten, is_settled, undominated
from optuna_tuner.spec.goals import Goals
from optuna_tuner.values import Load, LoadKind, Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial that was measured to its end.

    Attributes:
        rungs: each level's objective as it was seen (0 or infinity where a promise was broken), and seconds to its end.
        truths: the same without noise.
        objective: the true one of the whole trial; None where it is not feasible.
        cost_s: seconds of the whole trial.

    """

    rungs: tuple[tuple[float, float], ...]
    truths: tuple[float, ...]
    objective: float | None
    cost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search, and the optimum that it looked for."""

    trials: tuple[Trial, ...]
    maximize: bool
    optimum: float

    def regret(self, objectives: Sequence[float]) -> float:
        """How far the best of these is behind the optimum; 1 for none."""
        if not objectives:
            return 1.0
        return 1 - (max(objectives) / self.optimum if self.maximize else self.optimum / min(objectives))


@dataclass(frozen=True, slots=True, kw_only=True)
class Raced:
    """What is left of a search."""

    seconds: float
    regret: float
    given_up: int


def played(landscape: Landscape, seed: int, trials: int) -> Search:
    """One search by `serving`, as the leaderboard plays it."""
    method, rng = Ours(landscape, known_against(landscape), seed), np.random.default_rng([seed, 1])
    found = []
    for _ in range(trials):
        number, params = method.ask()
        truth, seen = landscape.truth(params), landscape.observe(params, rng)
        method.tell(number, seen)
        found.append(
            Trial(
                rungs=seen.rungs,
                truths=tuple(value for value, _ in truth.rungs),
                objective=truth.objective if truth.feasible else None,
                cost_s=truth.cost_s,
            )
        )
    return Search(trials=tuple(found), maximize=landscape.maximize, optimum=landscape.optimum)


def raced(search: Search) -> Raced:
    """The same trials, each ended where the race ends it; the first one, the default, is measured whole."""
    goals = goals_of(search)
    rivals: list[Sequence[Measurement]] = []
    seconds, given_up, objectives = 0.0, 0, list[float]()
    for place, trial in enumerate(search.trials):
        levels = levels_of(search, trial)
        count, beaten = (len(levels), False) if place == 0 else ended(goals, levels, rivals)
        seconds += cost_s(trial, count)
        given_up += beaten
        found = _found(search, trial, count)
        if not beaten and found is not None:
            objectives.append(found)
            rivals = [*undominated(goals, [*rivals, levels[:count]])] if levels else rivals
    return Raced(seconds=seconds, regret=search.regret(objectives), given_up=given_up)


def ended(goals: Goals, levels: Sequence[Measurement], rivals: Sequence[Sequence[Measurement]]) -> tuple[int, bool]:
    """After how many levels a trial ends, and whether it is given up."""
    for count in range(1, len(levels)):
        if is_settled(goals, levels[:count]):
            return count, False
        if is_beaten(goals, levels[:count], rivals):
            return count, True
    return len(levels), False


def _found(search: Search, trial: Trial, count: int) -> float | None:
    """The true objective of what was measured; None where it is not feasible."""
    kept = [value for value in trial.truths[:count] if _kept(search, value)]
    if trial.objective is None or not trial.rungs:
        return trial.objective
    return (max(kept) if search.maximize else min(kept)) if kept else None


def cost_s(trial: Trial, count: int) -> float:
    """Seconds when so many levels are measured; what comes after the last one, comes still."""
    return trial.cost_s if not trial.rungs else trial.rungs[count - 1][1] + trial.cost_s - trial.rungs[-1][1]


def goals_of(search: Search) -> Goals:
    """As the levels are scored: whether a level keeps every promise is one number."""
    objectives = [{"metric": "objective", "direction": "maximize" if search.maximize else "minimize"}]
    return Goals.model_validate({"objectives": objectives, "constraints": [{"metric": "broken", "at_most": 0.5}]})


def levels_of(search: Search, trial: Trial) -> Sequence[Measurement]:
    """One measurement for each load level."""
    return [
        Measurement(
            load=Load(kind=LoadKind.CONCURRENCY, value=place),
            metrics={"objective": value, "broken": float(not _kept(search, value))},
        )
        for place, (value, _) in enumerate(trial.rungs, start=1)
    ]


def _kept(search: Search, value: float) -> bool:
    return value > 0 if search.maximize else math.isfinite(value)


def kept_or_played(landscape: Landscape, seed: int, options: argparse.Namespace) -> Search:
    """From the file, or played and added to it."""
    case = {"landscape": landscape.name, "seed": seed, "trials": options.trials}
    lines = options.keep.read_text(encoding="utf-8").splitlines() if options.keep and options.keep.exists() else []
    for line in map(json.loads, lines):
        if line["case"] == case:
            return _read(line)
    search = played(landscape, seed, options.trials)
    if options.keep:
        trials: list[object] = [
            {"rungs": [[*rung] for rung in each.rungs], "truths": [*each.truths]}
            | {"objective": each.objective, "cost_s": each.cost_s}
            for each in search.trials
        ]
        line = {"case": case, "maximize": search.maximize, "optimum": search.optimum, "trials": trials}
        with options.keep.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return search


def _read(line: Mapping[str, object]) -> Search:
    trials = tuple(
        Trial(
            rungs=tuple((value, at) for value, at in each["rungs"]),
            truths=tuple(each["truths"]),
            objective=each["objective"],
            cost_s=each["cost_s"],
        )
        for each in line["trials"]  # type: ignore[attr-defined]
    )
    return Search(trials=trials, maximize=line["maximize"], optimum=line["optimum"])  # type: ignore[arg-type]


def row(name: str, searches: Sequence[Search]) -> str:
    """One line."""
    races = [raced(search) for search in searches]
    whole = sum(trial.cost_s for search in searches for trial in search.trials)
    regrets = [search.regret([each.objective for each in search.trials if each.objective]) for search in searches]
    cells = (
        name,
        f"{len(searches)}",
        f"{whole / len(searches) / 3600:.1f} h",
        f"{1 - sum(race.seconds for race in races) / whole:.0%}",
        f"{statistics.fmean(regrets):.1%}",
        f"{statistics.fmean(race.regret for race in races):.1%}",
        f"{max(race.regret - regret for race, regret in zip(races, regrets, strict=True)):+.1%}",
        f"{statistics.fmean(race.given_up for race in races):.1f}",
    )
    return f"| {' | '.join(cells)} |"


def rows(options: argparse.Namespace) -> Iterator[str]:
    """The table, landscape by landscape, and all seconds together."""
    yield "| landscape | searches | one takes | saved | regret without | with it | most lost | given up |"
    yield f"|{'---|' * 8}"
    pooled: list[Search] = []
    for landscape in (*OWN, *tabulated(options.tables)):
        searches = [kept_or_played(landscape, seed, options) for seed in range(options.seeds)]
        pooled += searches
        yield row(landscape.name, searches)
    yield row("all", pooled)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--tables", type=Path, default=TABLES, help="a folder with tabulated landscapes")
    parser.add_argument("--keep", type=Path, help="a file for the trials that were played")
    options = parser.parse_args()
    for line in rows(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
