"""What is measured again when a search is over, in which order, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from paper_study import DEFAULT, PaperStudy, gave, paper_spec, worker_on
from verdicts import CASES, play

from optuna_tuner.search.extra_runs import extra_runs, runs_left
from optuna_tuner.search.gain import Decision
from optuna_tuner.store.records import AttemptKind, AttemptRecord, Extra, Outcome, Verdict
from optuna_tuner.values import Cause, Params

DIED = Outcome(verdict=Verdict.FAIL, cause=Cause.WORKER_LOST)
CRASHED = Outcome(verdict=Verdict.PRUNED, constraints={"server runs": 1.0}, cause=Cause.CRASHED)


def at(x: int) -> Params:
    return Params(flags={"x": x})


class Script:
    """What each configuration gives, run by run; the last one again and again."""

    def __init__(self, runs: Mapping[int | None, list[float | Outcome]]) -> None:
        self.runs = runs

    def __call__(self, params: Params) -> Outcome:
        left = self.runs[params.flags.get("x")]  # type: ignore[index]
        value = left.pop(0) if len(left) > 1 else left[0]
        return value if isinstance(value, Outcome) else gave(value)


def study(runs: Mapping[int | None, list[float | Outcome]], **confirm: object) -> PaperStudy:
    """The default (None) and each configuration were measured once."""
    made = PaperStudy(paper_spec(confirm={"pairs": 2, **confirm}), Script(runs))
    made.search([at(x) for x in runs if x is not None])
    return made


def said(attempts: list[AttemptRecord]) -> list[tuple[str, object, int | None]]:
    return [
        (each.kind.value, None if each.params is None else each.params.flags.get("x"), each.pair) for each in attempts
    ]


def test_the_best_are_measured_again_then_winner_and_default_in_alternating_pairs() -> None:
    made = study({None: [100.0], 1: [120.0], 2: [150.0], 3: [90.0], 4: [130.0]}, top=2)
    made.confirm()
    assert said(made.attempts[5:]) == [
        ("rerun", 2, None),
        ("rerun", 4, None),
        ("confirm", None, 1),
        ("confirm", 2, 1),
        ("confirm", 2, 2),
        ("confirm", None, 2),
    ]


def test_nothing_begins_before_the_search_has_ended() -> None:
    made = study({None: [100.0], 1: [120.0]})
    late = made.begin(Extra(kind=AttemptKind.SEARCH, params=at(1)))
    assert made.next() is None
    made.end(late, gave(120.0))
    assert made.next() is not None


def test_the_lucky_one_of_the_search_is_not_the_winner() -> None:
    made = study({None: [100.0], 1: [150.0, 110.0], 2: [140.0, 139.0]})
    found = made.confirm()
    assert found is not None
    assert found.winner.params == at(2)
    assert found.estimates[0] is not None
    assert found.estimates[0].share == pytest.approx(0.39)  # and 140, which the search saw, is not reported


def test_who_is_close_is_measured_a_second_time_and_who_is_not_is_not() -> None:
    made = study({None: [100.0], 1: [150.0, 140.0], 2: [140.0, 149.0], 3: [110.0, 111.0]})
    made.confirm()
    again = [x for kind, x, _ in said(made.attempts) if kind == "rerun"]
    assert sorted(again, key=str) == [1, 1, 2, 2, 3]


def test_a_single_candidate_needs_no_rerun() -> None:
    made = study({None: [100.0], 1: [150.0]})
    made.confirm()
    assert [kind for kind, _, _ in said(made.attempts[2:])] == ["confirm"] * 4


@pytest.mark.parametrize("runs", [{None: [100.0], 1: [90.0]}, {None: [CRASHED], 1: [90.0]}, {None: [100.0], 1: [DIED]}])
def test_where_nothing_beats_a_measured_default_there_is_nothing_to_confirm(
    runs: dict[int | None, list[float | Outcome]],
) -> None:
    made = study(runs)
    assert made.next() is None
    assert made.confirmation is None


def begun(made: PaperStudy, worker: str) -> AttemptRecord:
    extra = made.next(worker)
    assert extra is not None
    return made.begin(extra, worker)


def pairing(**confirm: object) -> PaperStudy:
    """At its pairs, with two workers."""
    made = study({None: [100.0], 1: [150.0]}, **confirm)
    made.workers = (worker_on("slot-0"), worker_on("slot-1"))
    return made


def test_two_workers_have_pairs_of_their_own() -> None:
    made = pairing()
    first, second = begun(made, "slot-0"), begun(made, "slot-1")
    assert (first.pair, first.params, second.pair, second.params) == (1, DEFAULT, 2, at(1))
    made.end(first, gave(100.0))
    assert made.next("slot-1") is None  # the other half is for the slot of the first
    other = begun(made, "slot-0")
    assert (other.pair, other.params) == (1, at(1))


def test_a_pair_that_lost_its_slot_is_void_and_another_takes_its_place() -> None:
    made = pairing()
    made.end(begun(made, "slot-0"), gave(100.0))
    made.workers = (worker_on("slot-0", retired=True), worker_on("slot-1"))
    assert begun(made, "slot-1").pair == 2


def test_who_comes_back_to_the_slot_goes_on_with_its_pair() -> None:
    made = pairing()
    made.end(begun(made, "slot-0"), gave(100.0))
    made.workers = (worker_on("slot-0", retired=True), replace(worker_on("slot-0"), id="later"))
    again = made.next("later")
    assert again is not None
    assert (again.pair, again.params) == (1, at(1))


def test_a_half_that_is_tried_again_elsewhere_takes_the_pair_with_it_or_spoils_it() -> None:
    made = pairing()
    lost = made.end(begun(made, "slot-0"), DIED)
    half = Extra(kind=AttemptKind.CONFIRM, params=DEFAULT, pair=1)
    made.end(made.begin(half, "slot-1", retry_of=lost.id), gave(100.0))
    other = begun(made, "slot-1")
    assert (other.pair, other.params) == (1, at(1))
    lost = made.end(other, DIED)
    made.end(made.begin(replace(half, params=at(1)), "slot-0", retry_of=lost.id), gave(150.0))
    assert made.confirmation is None or not made.confirmation.pairs
    assert begun(made, "slot-0").pair == 2


def test_a_half_without_a_result_makes_its_pair_void_and_there_is_an_end_to_that() -> None:
    made = study({None: [100.0, DIED], 1: [150.0]})
    found = made.confirm()
    assert found is not None
    assert (len(found.pairs), found.decisions) == (0, (Decision.INCONCLUSIVE,))
    assert max(each.pair or 0 for each in made.attempts) == 4


def test_more_pairs_go_on_where_the_others_ended() -> None:
    made = study({None: [100.0], 1: [150.0]})
    made.confirm()
    before = list(made.attempts)
    made.spec = paper_spec(confirm={"pairs": 3})
    made.confirm()
    assert made.attempts[: len(before)] == before
    assert [pair for _, _, pair in said(made.attempts[len(before) :])] == [3, 3]


SLOW = gave(150.0, slo=0.2)


@pytest.mark.parametrize(
    ("winner", "default", "decision"),
    [
        ([150.0], [100.0], Decision.WIN),
        ([150.0, SLOW, 150.0], [100.0], Decision.INCONCLUSIVE),  # once is too often for a win
        ([150.0, SLOW, SLOW, 150.0], [100.0], Decision.LOSS),
        ([150.0, CRASHED], [100.0], Decision.LOSS),
        ([90.0], [gave(80.0, slo=0.3)], Decision.WIN),
        ([90.0], [gave(100.0, slo=0.3)], Decision.WIN),  # a default that breaks the promise is no measure
    ],
)
def test_there_is_no_win_without_the_promise(
    winner: list[float | Outcome], default: list[float | Outcome], decision: Decision
) -> None:
    found = study({None: default, 1: winner}, pairs=3).confirm()
    assert found is not None
    assert found.decisions == (decision,)


def test_a_single_pair_says_nothing() -> None:
    made = study({None: [100.0], 1: [150.0]})
    for _ in range(2):
        made.end(begun(made, "slot-0"), gave(100.0))
    found = made.confirmation
    assert found is not None
    assert (len(found.pairs), found.decisions) == (1, (Decision.INCONCLUSIVE,))


def test_each_objective_has_a_verdict_of_its_own() -> None:
    goals = [("output_throughput_tok_s", "maximize"), ("ttft_ms.p99", "minimize")]
    objectives = [{"metric": metric, "direction": direction} for metric, direction in goals]
    spec = paper_spec(confirm={"pairs": 2}, goals={"objectives": objectives})
    made = PaperStudy(spec, Script({None: [gave(100.0, 50.0)], 1: [gave(150.0, 80.0)]}))
    made.search([at(1)])
    found = made.confirm()
    assert found is not None
    assert found.decisions == (Decision.WIN, Decision.LOSS)


def test_in_studies_of_the_default_against_itself_there_are_few_wins() -> None:
    assert play(CASES[1], studies=100, trials=6, pairs=5, seed=3).verdicts["win"] <= 5


def test_a_gain_of_five_percent_at_a_noise_of_one_is_found() -> None:
    fives = next(case for case in CASES if case.name == "one 5 % better, noise 1 %")
    seen = play(fives, studies=50, trials=9, pairs=5, seed=3)
    assert seen.verdicts["win"] >= 45
    assert abs(sum(seen.confirmed) / len(seen.confirmed)) < 0.005


def test_the_number_of_extra_runs_is_known_before() -> None:
    spec = paper_spec(confirm={"top": 3, "pairs": 5}, baseline_every=10)
    found = extra_runs(spec, 22)
    assert (found.controls, found.reruns, found.pairs) == (2, 3, 5)
    assert (found.least, found.most) == (15, 18)
    made = PaperStudy(spec, Script({None: [100.0], 1: [150.0]}))
    made.run(Extra(kind=AttemptKind.CONTROL, params=DEFAULT))
    assert runs_left(spec, 22, made.attempts) == 14
