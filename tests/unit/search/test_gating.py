"""Whether a winner has held: which pairs are measured, when they are enough, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle

import pytest
from gates import BOTH, CASES, METRIC, TTFT, play
from paper_study import DEFAULT, PaperStudy, gave, paper_spec

from optuna_tuner.rechecks import GateOrder
from optuna_tuner.search.gating import Gated, Held, Reason, gated, looks
from optuna_tuner.store.records import AttemptKind, Extra, Outcome, Verdict
from optuna_tuner.values import Cause, Params

THEN = {"winner": {METRIC: [150.0, 151.0, 149.0]}, "default": {METRIC: [100.0, 100.5, 99.5]}}
THEN_OF_TWO = {
    "winner": {**THEN["winner"], TTFT: [100.0, 100.4, 99.7]},
    "default": {**THEN["default"], TTFT: [160.0, 160.5, 159.6]},
}
CRASHED = Outcome(verdict=Verdict.PRUNED, constraints={"server runs": 1.0}, cause=Cause.BAD_FLAG)
LATE = {"slo": 0.2}


def gate(
    winner: Sequence[float | Outcome],
    default: Sequence[float | Outcome],
    *,
    pairs: int = 10,
    then: Mapping[str, Mapping[str, list[float]]] = THEN,
    **changes: object,
) -> tuple[PaperStudy, Gated]:
    """A gate whose halves give these, one after the other, and the last one again and again; then all was kept."""
    kept = len(then["winner"][METRIC])
    spec = paper_spec(
        confirm={"top": 1, "pairs": pairs},
        first=[{"x": 1}],
        gate={"study": "old", "trial": 7, "max_regression": 0.05, "kept": kept, **then},
        **changes,  # type: ignore[arg-type]  # as given
    )
    left = {True: list(default), False: list(winner)}

    def measure(params: Params) -> Outcome:
        runs = left[params == DEFAULT]
        value = runs.pop(0) if len(runs) > 1 else runs[0]
        return value if isinstance(value, Outcome) else gave(value)

    study = PaperStudy(spec, measure)
    study.run(Extra(kind=AttemptKind.BASELINE, params=DEFAULT))
    study.run(Extra(kind=AttemptKind.FIRST, params=spec.first_params[0]))
    study.confirm()
    found = gated(spec, study.attempts, study.workers)
    assert found is not None
    return study, found


@pytest.mark.parametrize(
    ("winner", "default", "reason"),
    [
        ([150.0, 149.0, 150.5], [100.0, 99.8, 100.3], Reason.HOLDS),
        ([135.0, 134.0, 135.5], [100.0, 99.8, 100.3], Reason.SLOWER),
        ([120.0, 119.0, 120.5], [80.0, 79.8, 80.3], Reason.BOTH_SLOWER),
        ([150.0, 149.0, 150.5], [120.0, 119.8, 120.3], Reason.DEFAULT_FASTER),
        ([150.0, 100.0, 190.0, 120.0, 170.0, 140.0], [100.0, 99.8], Reason.NOISE),
        ([CRASHED], [100.0], Reason.NO_START),
        ([gave(150.0, **LATE)], [100.0, 99.9], Reason.BROKEN_PROMISE),
        ([150.0, gave(149.0, **LATE), 150.5, 149.8], [100.0, 99.9], Reason.PROMISE_IN_DOUBT),
        ([150.0], [CRASHED], Reason.NO_DEFAULT),
    ],
)
def test_a_gate_says_what_became_of_the_winner(
    winner: list[float | Outcome], default: list[float | Outcome], reason: Reason
) -> None:
    assert gate(winner, default)[1].reason is reason


def test_a_figure_that_is_better_when_small_is_judged_the_other_way_round() -> None:
    assert gate([165.0, 164.0, 165.5], [100.0, 99.8, 100.3], direction="minimize")[1].held is Held.REGRESSED
    assert gate([135.0, 134.0, 135.5], [100.0, 99.8, 100.3], direction="minimize")[1].held is Held.HELD


@pytest.mark.parametrize(
    ("ttft_ms", "reason"),
    [
        ([100.0, 99.8, 100.3], Reason.HOLDS),
        ([115.0, 114.8, 115.3], Reason.SLOWER),
        ([90.0, 120.0, 70.0, 140.0, 100.0, 110.0], Reason.NOISE),
    ],
)
def test_every_objective_must_hold_and_one_that_regressed_is_enough(ttft_ms: list[float], reason: Reason) -> None:
    winner = [gave(speed, ms) for speed, ms in zip(cycle([150.0, 149.0, 150.5]), ttft_ms * 2, strict=False)]
    default = [gave(100.0, 160.0), gave(99.8, 160.4), gave(100.3, 159.5)]
    found = gate(winner, default, then=THEN_OF_TWO, goals={"objectives": BOTH})[1]
    assert found.reason is reason
    assert [(each.metric, each.reason) for each in found.objectives] == [(METRIC, Reason.HOLDS), (TTFT, reason)]


@pytest.mark.parametrize(("broken", "reason"), [(2, Reason.PROMISE_IN_DOUBT), (3, Reason.BROKEN_PROMISE)])
def test_a_promise_that_most_of_twenty_pairs_break_is_not_kept_any_more(broken: int, reason: Reason) -> None:
    of_five = [gave(150.0 + place % 2, **(LATE if place < broken else {})) for place in range(5)]
    then = {name: {METRIC: [*runs[METRIC], *runs[METRIC][:2]]} for name, runs in THEN.items()}
    found = gate([150.0, *of_five * 4], [100.0, 100.1], pairs=20, then=then)[1]
    assert (found.reason, found.kept, len(found.pairs)) == (reason, 20 - 4 * broken, 20)


def test_a_winner_that_the_default_has_overtaken_is_measured_all_the_same() -> None:
    study, found = gate([90.0, 90.1, 89.9], [100.0, 99.8, 100.3])
    assert found.reason is Reason.SLOWER
    assert [each.kind for each in study.attempts[2:]].count(AttemptKind.CONFIRM) == 2 * len(found.pairs)


def test_a_gate_ends_at_the_first_look_that_settles_it_and_at_the_most_pairs_else() -> None:
    assert len(gate([150.0, 149.9, 150.1], [100.0, 99.9, 100.1], pairs=20)[1].pairs) == 4
    noisy = [150.0, 110.0, 190.0, 120.0, 170.0, 140.0] * 4
    assert len(gate(noisy, [100.0, 99.8], pairs=10)[1].pairs) == 10


def test_the_looks_together_make_no_more_error_than_the_confidence_leaves() -> None:
    spec = paper_spec(confirm={"pairs": 20})
    assert [look.pairs for look in looks(spec)] == [4, 8, 20]
    assert sum(look.speed_error for look in looks(spec)) == pytest.approx(0.05)
    assert sum(look.promise_error for look in looks(spec)) == pytest.approx(0.05)
    (one,) = looks(paper_spec(confirm={"pairs": 2}))
    assert one == pytest.approx((2, 0.05, 0.05))


def test_a_winner_that_does_not_start_costs_one_pair() -> None:
    assert len(gate([CRASHED], [100.0], pairs=20)[0].attempts) == 4


def test_while_pairs_are_to_come_nothing_is_settled() -> None:
    study, _ = gate([150.0, 149.0], [100.0, 99.9])
    early = gated(study.spec, study.attempts[:5], study.workers)
    assert early is not None
    assert (early.reason, early.held) == (None, Held.UNKNOWN)


def test_a_server_that_is_the_same_is_not_said_to_be_slower_and_one_that_lost_a_tenth_is() -> None:
    order = GateOrder(study="paper")
    same, slower = (replace(case, noise=0.015) for case in (CASES[0], CASES[4]))
    assert (same.winner, slower.winner) == (0.0, -0.10)
    assert sum(each.held is Held.REGRESSED for each in play(same, 20, order, 5, 3)) <= 1
    assert sum(each.held is Held.REGRESSED for each in play(slower, 20, order, 5, 3)) >= 18
