"""How often a gate is right: on paper, with the real pairs, looks and verdicts.

    python benchmarks/gates.py [--gates 200] [--pairs 20] [--stored 5] [--max-regression 0.05] [--seed 0]

Each gate has an older study of its own, whose winner is 25 % better than the default and was confirmed in so many
stored pairs; all of it is measured with noise. Then the gate measures both again, in a world where something is true of
the winner and of the default. Noise is relative, of one run, normal or with heavy tails (Student's t with 3 degrees of
freedom, scaled to the same deviation). Drift is a factor of the machine, the same for winner and default: one for each
of the two sessions, with this standard deviation, and a walk from run to run whose steps have a tenth of it. With two
objectives the other one is p99 TTFT, with noise of its own. Prints a Markdown table, with 95 % intervals of shares
(Wilson).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from paper_study import BEGAN, DEFAULT, PaperStudy, paper_spec
from verdicts import share

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.rechecks import GateOrder, gate_of
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.search.gating import Gated, gated
from optuna_tuner.store.records import AttemptKind, Desired, Extra, Outcome, StudyRecord, Verdict
from optuna_tuner.values import Params

WINNER = Params(flags={"itl_ms": 4})
SPEED, GAIN = 1000.0, 0.25
TTFT_MS = 200.0  # of the default; the winner's is shorter by as much as it is faster
METRIC, TTFT = "output_throughput_tok_s", "ttft_ms.p99"
BOTH = [{"metric": METRIC, "direction": "maximize"}, {"metric": TTFT, "direction": "minimize"}]
BENCHMARK = {"kind": "http", "scenario": "D(8,8)", "concurrency": [1], "requests": 8}
KINDS = InstalledKinds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of world: what became of both since then, and what hides it.

    `ttft` makes p99 TTFT a second objective, in which the winner changed so much. `late` are the shares of the winner's
    runs that break the promise, then and now.
    """

    name: str
    noise: float
    winner: float = 0.0
    default: float = 0.0
    ttft: float | None = None
    late: tuple[float, float] = (0.0, 0.0)
    heavy: bool = False
    drift: float = 0.015


CASES = (
    *(Case(name=f"nothing changed, noise {noise:.1%}", noise=noise) for noise in (0.01, 0.015, 0.02)),
    Case(name="nothing changed, noise 2.0%, heavy tails", noise=0.02, heavy=True),
    *(Case(name=f"winner 10% slower, noise {noise:.1%}", noise=noise, winner=-0.10) for noise in (0.01, 0.015, 0.02)),
    Case(name="winner 10% slower, noise 2.0%, heavy tails", noise=0.02, winner=-0.10, heavy=True),
    *(
        Case(name=f"{name}, noise 1.0%, drift 5.0%", noise=0.01, winner=winner, drift=0.05)
        for name, winner in (("nothing changed", 0.0), ("winner 10% slower", -0.10))
    ),
    Case(name="winner 5% slower: just what it may lose, noise 1.0%", noise=0.01, winner=-0.05),
    Case(name="winner 2% slower, noise 1.0%", noise=0.01, winner=-0.02),
    Case(name="winner and default 15% slower, noise 1.0%", noise=0.01, winner=-0.15, default=-0.15),
    Case(name="default 15% faster, noise 1.0%", noise=0.01, default=0.15),
    *(
        Case(name=f"two objectives: {name}, noise {noise:.1%}", noise=noise, ttft=ttft)
        for name, ttft in (("nothing changed", 0.0), ("winner's p99 TTFT 10% longer", 0.10))
        for noise in (0.01, 0.015, 0.02)
    ),
    *(
        Case(
            name=f"winner breaks the promise in {then:.0%} of its runs then, in {now:.0%} now",
            noise=0.01,
            late=(then, now),
        )
        for then, now in ((0.05, 0.05), (0.2, 0.2), (0.0, 1.0), (0.0, 0.7))
    ),
)


class Session:
    """Measures both on one machine, one time: then, or `now`."""

    def __init__(self, case: Case, rng: np.random.Generator, *, now: bool = False) -> None:
        self._case, self._rng, self._now = case, rng, now
        self._machine = case.drift * rng.standard_normal()

    def measure(self, params: Params) -> Outcome:
        """One run."""
        case, is_winner = self._case, params != DEFAULT
        self._machine += case.drift / 10 * self._rng.standard_normal()
        metrics = {
            METRIC: SPEED * (1 + GAIN * is_winner) * self._changed(case.winner, case.default, params) * self._luck()
        }
        if case.ttft is not None:
            metrics[TTFT] = TTFT_MS / (1 + GAIN * is_winner) * self._changed(case.ttft, 0.0, params) / self._luck()
        late = is_winner and any(case.late) and self._rng.random() < case.late[self._now]
        return Outcome(
            verdict=Verdict.COMPLETE,
            values=tuple(metrics.values()),
            constraints={"server runs": 0.0, "promise": 0.1 if late else 0.0},
            metrics={**metrics, "x": metrics[METRIC]},
        )

    def _changed(self, winner: float, default: float, params: Params) -> float:
        return 1 + (default if params == DEFAULT else winner) * self._now

    def _luck(self) -> float:
        """Of the machine and of this run, as a factor of its speed."""
        draw = self._rng.standard_t(3) / math.sqrt(3) if self._case.heavy else self._rng.standard_normal()
        return math.exp(self._machine + self._case.noise * draw)


def confirmed(case: Case, rng: np.random.Generator, stored: int) -> StudyView:
    """The older study. A search that by chance found no winner that kept its promise has nothing to confirm."""
    spec = paper_spec(
        confirm={"top": 1, "pairs": stored},
        benchmark=BENCHMARK,
        space={"itl_ms": {"type": "choice", "choices": [4]}},
        goals={"objectives": BOTH if case.ttft is not None else BOTH[:1]},
        budget={"trials": 2},
    )
    while True:
        study = PaperStudy(spec, Session(case, rng).measure)
        study.search([WINNER])
        if study.confirm() is not None:
            return view_of(study)


def view_of(study: PaperStudy) -> StudyView:
    """As everybody reads it."""
    record = StudyRecord(
        id="paper",
        name=study.spec.name,
        spec_json="",
        space_hash="",
        budget=2,
        reserved=2,
        desired=Desired.RUN,
        created_at=BEGAN,
    )
    return study_view(record, study.spec, study.attempts, study.workers, datetime.now(UTC))


def gate(case: Case, rng: np.random.Generator, order: GateOrder, stored: int) -> Gated:
    """One gate, from the older study to the verdict."""
    spec = gate_of(confirmed(case, rng, stored), order, {}, (), KINDS)
    study = PaperStudy(spec, Session(case, rng, now=True).measure)
    study.run(Extra(kind=AttemptKind.BASELINE, params=DEFAULT))
    study.run(Extra(kind=AttemptKind.FIRST, params=spec.first_params[0]))
    study.confirm()
    found = gated(spec, study.attempts, study.workers)
    if found is None or found.reason is None:
        raise RuntimeError("a gate on paper always ends settled")
    return found


def play(case: Case, gates: int, order: GateOrder, stored: int, seed: int) -> Sequence[Gated]:
    """So many gates of one case."""
    return [gate(case, np.random.default_rng([seed, number]), order, stored) for number in range(gates)]


def rows(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """The table."""
    yield ("world", "held", "regressed", "cannot tell", "because", "pairs, mean", "most")
    yield ("---",) * 7
    order = GateOrder(study="paper", max_regression=options.max_regression, pairs=options.pairs)
    for case in CASES:
        found = play(case, options.gates, order, options.stored, options.seed)
        counts = Counter(each.held.value for each in found)
        unknown = Counter(each.reason.value for each in found if each.reason and each.held == "unknown")
        pairs = [len(each.pairs) for each in found]
        shares = [share(counts[word], options.gates) for word in ("held", "regressed", "unknown")]
        because = ", ".join(f"{count} x {word}" for word, count in unknown.most_common())
        yield (case.name, *shares, because, f"{statistics.fmean(pairs):.1f}", str(max(pairs)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"gates": 200, "pairs": 20, "stored": 5, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--max-regression", type=float, default=0.05)
    for cells in rows(parser.parse_args()):
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
