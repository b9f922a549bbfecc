"""One run of one method on one landscape, and what is asked of all runs together."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp
from pathlib import Path
from typing import Protocol

import numpy as np

from optuna_tuner.search.encoding import Matrix
from optuna_tuner.search.hypervolume import hypervolume
from optuna_tuner.search.objection import Objection
from optuna_tuner.values import Cause
from search.landscape import Configuration, Landscape, Truth, scores

BEYOND = 0.1  # of the range of the front


class Method(Protocol):
    """A tuner as the contest sees it: asked for configurations, told what a trial of them gave."""

    def ask(self) -> tuple[int, Configuration]:
        """A number, and the configuration to try."""

    def tell(self, number: int, seen: Truth) -> None:
        """What the trial gave, with noise."""


MethodMaker = Callable[[Landscape, Objection, int], Method]  # what is known against configurations, and a seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of one run.

    Attributes:
        regrets: after each trial, 1 - (best true objective among the truly feasible that were tried) / optimum; 1 while
            there is none. For objectives to minimize the quotient is the other way round. With two objectives, the
            share of the true front's hypervolume that is not dominated by the truly feasible that were tried.
        failed: share of the trials whose server did not run.
        ask_s: CPU seconds of an ask, mean over the run.
        trials_s: seconds that all its trials took, by the landscape's own clock.

    """

    regrets: tuple[float, ...]
    failed: float
    ask_s: float
    trials_s: float


class Rules(Protocol):
    """How long a run is: so many trials, `parallel` of them at any time."""

    trials: int
    parallel: int


def play(make: MethodMaker, landscape: Landscape, objection: Objection, seed: int, rules: Rules) -> Run:
    """One run; each trial is as long as the landscape says."""
    trials = rules.trials
    method, rng = make(landscape, objection, seed), np.random.default_rng([seed, 1])
    running: list[tuple[float, int, Configuration]] = []
    regrets: list[float] = []
    judged = Judge(landscape)
    failed, cpu_s, clock, spent_s, asked = 0, 0.0, 0.0, 0.0, 0
    while len(regrets) < trials:
        while asked < trials and len(running) < rules.parallel:
            began = time.process_time()
            number, params = method.ask()
            cpu_s += time.process_time() - began
            running.append((clock + landscape.truth(params).cost_s, number, params))
            asked += 1
        done = min(running)
        running.remove(done)
        clock, number, params = done
        truth = landscape.truth(params)
        method.tell(number, landscape.observe(params, rng))
        failed, spent_s = failed + (truth.cause is not None), spent_s + truth.cost_s
        regrets.append(judged(truth))
    return Run(regrets=tuple(regrets), failed=failed / trials, ask_s=cpu_s / trials, trials_s=spent_s)


def kept(file: Path | None, played: Callable[[], Run]) -> Run:
    """The run that is in the file; where there is none it is played, and kept there."""
    if file is not None and file.exists():
        raw = json.loads(file.read_text(encoding="utf-8"))
        return Run(**{**raw, "regrets": tuple(raw["regrets"])})
    run = played()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(run)), encoding="utf-8")
        part.replace(file)  # half a file would be taken for a run
    return run


class Judge:
    """How far a run is behind, trial by trial."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape, self._best = landscape, 1.0
        self._found: list[Truth] = []

    def __call__(self, truth: Truth) -> float:
        """The regret after one more trial."""
        if self._landscape.front is None:
            self._best = min(self._best, regret(self._landscape, truth))
            return self._best
        self._found.append(truth)
        return 1 - share_of(self._landscape.front, scores(self._found, maximize=self._landscape.maximize))


def share_of(front: Matrix, found: Matrix) -> float:
    """The hypervolume of what was found, as a share of the front's.

    The reference point is the worst that the front has of each objective, and a tenth of the front's range beyond: so
    the ends of the front count too.
    """
    reference = front.min(axis=0) - BEYOND * np.ptp(front, axis=0)
    return hypervolume(found, reference) / hypervolume(front, reference)


def regret(landscape: Landscape, truth: Truth) -> float:
    """How far one configuration is behind the optimum, as a share of it; 1 for one that is not feasible."""
    if not truth.feasible or truth.objective is None:
        return 1.0
    ratio = truth.objective / landscape.optimum if landscape.maximize else landscape.optimum / truth.objective
    return 1.0 - ratio


def excesses(seen: Truth) -> Sequence[float]:
    """Constraints as studies have them: relative to the bound."""
    return [exp(each) - 1 for each in seen.constraints]


def metrics(landscape: Landscape, seen: Truth) -> Mapping[str, float] | Cause:
    """As a study is told: the objective, and each constraint's metric over its limit; or the cause."""
    if seen.cause is not None or seen.objective is None:
        return seen.cause or Cause.CRASHED
    told = {name: 1 + excess for name, excess in zip(landscape.constraint_names, excesses(seen), strict=True)}
    traded = {} if seen.traded is None else {"traded": seen.traded}
    return {"objective": seen.objective, **traded, **told}


def within(runs: Sequence[Run], share: float, trials: int) -> float:
    """The share of runs that are so near to the optimum after so many trials."""
    return sum(run.regrets[trials - 1] <= share for run in runs) / len(runs)


def trials_to(runs: Sequence[Run], share: float) -> float:
    """The median number of trials until a run is so near; infinite where half of them never are."""
    counts = [next((n for n, each in enumerate(run.regrets, 1) if each <= share), float("inf")) for run in runs]
    return float(np.median(counts))
