"""How many trials are spent on configurations that are known not to run, before and after the sampler knows it too.

    python benchmarks/refused_trials.py [--trials 40] [--seeds 5]

Studies are played without servers: over the spaces of `preflight.py` that others have published, and the wide ones of
`studies/`, for its model on its slot. A trial's score rewards what throughput does, more sequences and more batched
tokens, so that a sampler that learns has somewhere to go; one that is refused is told as a violated constraint, as a
study does it. "Before" is the bare sampler, "after" the one that the worker uses; the best score is the mean of the
studies' best. Prints a Markdown table, with the CPU time of an ask: the median, and "after" also what 95 % took less
than.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import optuna
import yaml
from preflight import MODEL, PUBLISHED, REST, SLOTS, STUDIES

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.redrawing import Redrawing
from optuna_tuner.search.samplers import make_sampler
from optuna_tuner.spec.files import load_study
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.objections import known_bad
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Params

KINDS = ("tpe", "random", "nsga2")
MORE_IS_BETTER = ("max_num_seqs", "max_num_batched_tokens", "max_running_requests", "chunked_prefill_size")


@dataclass(slots=True)
class Tally:
    """What was seen of one space and sampler."""

    refused: int = 0
    trials: int = 0
    passed_over: int = 0
    repaired: int = 0
    ask_ms: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)  # score of each study


def spaces() -> Iterator[tuple[str, StudySpec, Objection]]:
    """Each space with what is known against its configurations."""
    kinds = InstalledKinds()
    found = [(name, StudySpec.model_validate({**REST, **given})) for name, given in yaml.safe_load(PUBLISHED).items()]
    found += [(file.stem, load_study(file, kinds)) for file in sorted(STUDIES.glob("*wide*.yaml"))]
    for name, spec in found:
        slot = SLOTS[8 if "8 GPUs" in name else 2]
        yield name, spec, known_bad(spec, assemble(spec, kinds), MODEL, slot)


def score(params: Params) -> float:
    """Larger batches are better, in the logarithm."""
    return sum(math.log(max(float(params.flags.get(name, 1)), 1)) for name in MORE_IS_BETTER)


def play(spec: StudySpec, judge: Objection, known: Objection, trials: int, tally: Tally) -> None:
    """One study. `judge` says which trials are refused, `known` is what the sampler knows of it."""
    study, best = optuna.create_study(direction="maximize"), -math.inf
    for number in range(trials):
        study.sampler = make_sampler(Problem.of(spec), number, known)
        began = time.process_time()
        trial = study.ask()
        params = suggest(spec.space, trial)
        tally.ask_ms.append(1000 * (time.process_time() - began))
        tally.trials += 1
        if isinstance(study.sampler, Redrawing):
            tally.passed_over += study.sampler.choice.passed_over
            tally.repaired += bool(study.sampler.choice.repaired)
        if judge(params) is None:
            trial.set_constraint("server runs", 0.0)
            best = max(best, score(params))
            study.tell(trial, score(params))
        else:
            tally.refused += 1
            trial.set_constraint("server runs", 1.0)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    tally.best.append(best)


def row(name: str, spec: StudySpec, objection: Objection, kind: str, given: argparse.Namespace) -> str:
    """One space and sampler, over all seeds."""
    before, after = Tally(), Tally()
    for seed in range(given.seeds):
        sampler = spec.sampler.model_copy(update={"kind": kind, "seed": seed})
        seeded = spec.model_copy(update={"sampler": sampler})
        play(seeded, objection, NOTHING_KNOWN, given.trials, before)
        play(seeded, objection, objection, given.trials, after)
    share = f"{before.refused / before.trials:.1%} | {after.refused / after.trials:.1%}"
    redrawn = f"{after.passed_over / after.trials:.2f} | {after.repaired / after.trials:.1%}"
    tail = sorted(after.ask_ms)[int(0.95 * len(after.ask_ms))]
    medians = f"{statistics.median(before.ask_ms):.1f} | {statistics.median(after.ask_ms):.1f}, {tail:.0f}"
    best = f"{statistics.mean(before.best):.2f} | {statistics.mean(after.best):.2f}"
    return f"| {name} | {kind} | {share} | {redrawn} | {best} | {medians} |"


def main() -> None:
    """Play and print."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print(
        "| space | sampler | refused before | after | passed over a trial | repaired | best score before | after ",
        end="",
    )
    print("| ask before, ms | after |\n|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, spec, objection in spaces():
        for kind in KINDS:
            print(row(name, spec, objection, kind, given), flush=True)


if __name__ == "__main__":
    main()
