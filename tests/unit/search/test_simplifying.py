"""What is measured of leaving flags out, in which order, and what is made of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from paper_study import PaperStudy, gave, worker_on
from simplified import WORLDS, play, simplified_study

from optuna_tuner.results.simplified import NOTHING, simplification_document, simplified_text
from optuna_tuner.search.confirming import unthought
from optuna_tuner.search.gain import Decision, chained, estimate
from optuna_tuner.search.simplifying import Simplification, simpler
from optuna_tuner.search.worth import FlagWorth, Loss, Worths, drops_of
from optuna_tuner.spec.space import Choice, Parameter, Switch
from optuna_tuner.store.records import AttemptKind, Drops, Outcome
from optuna_tuner.values import Params, Scalar

FLAGS = "abcd"
FULL = Params(flags=dict.fromkeys(FLAGS, 1))

Worth = Callable[[Params], Outcome]


def flags_of(params: Params | None) -> set[str]:
    return set(params.flags) if params else set()


def speeds(**shares: float) -> Worth:
    """Each flag multiplies the speed, which is 100 without any."""
    return lambda params: gave(100.0 * float(np.prod([1 + shares.get(name, 0.0) for name in params.flags])))


def played(worth: Worth, *groups: Sequence[str], most: int = 5, **confirm: object) -> PaperStudy:
    """A study whose winner sets every flag, to its end; these groups are tried to be left out."""
    made = simplified_study(worth, FLAGS, simplify=most, **{"pairs": 2, **confirm})
    made.confirm(lambda winner: Drops(winner=winner, groups=tuple(map(tuple, groups)), default={}))
    return made


def found(made: PaperStudy) -> Simplification:
    assert made.simplification is not None
    return made.simplification


def best_of(made: PaperStudy) -> Params:
    best = found(made).best
    assert best is not None
    return best.params


def tried(made: PaperStudy) -> list[tuple[set[str], bool | None]]:
    return [(set(step.left_out), step.keeps) for step in found(made).steps]


def test_what_brings_nothing_is_left_out_and_what_remains_has_a_verdict_of_its_own() -> None:
    made = played(speeds(a=0.2, b=0.1), ("c", "d"))
    best = found(made).best
    assert tried(made) == [({"c", "d"}, True)]
    assert best is not None
    assert best.gain is not None
    assert best.gain.estimates[0] is not None
    assert flags_of(best.params) == {"a", "b"}
    assert best.gain.decisions == (Decision.WIN,)
    assert best.gain.estimates[0].share == pytest.approx(1.2 * 1.1 - 1)
    assert best.gain.winner.params == best.params
    halves = [(each.pair, flags_of(each.params)) for each in made.attempts if each.kind is AttemptKind.CONFIRM]
    less, full = {"a", "b"}, set(FLAGS)
    assert halves[4:] == [(3, full), (3, less), (4, less), (4, full)], "as default and winner before them"


def test_a_group_that_matters_is_halved_until_the_flag_is_found_that_does() -> None:
    made = played(speeds(a=0.2, c=0.1), ("b", "c", "d"))
    assert tried(made) == [({"b", "c", "d"}, False), ({"b", "c"}, False), ({"b"}, True), ({"b", "d"}, True)]
    assert "c" in flags_of(best_of(made))


def test_no_more_are_measured_than_were_asked_for() -> None:
    made = played(speeds(a=0.2, c=0.1), ("b", "c", "d"), most=2)
    assert [keeps for _, keeps in tried(made)] == [False, False]
    assert found(made).best is None


def test_one_that_is_certainly_behind_gets_no_more_pairs() -> None:
    made = played(speeds(a=0.2, c=0.3), ("c",), pairs=5)
    assert len([each for each in made.attempts if each.params == Params(flags=dict.fromkeys("abd", 1))]) < 5
    assert tried(made) == [({"c"}, False)]


def test_one_that_breaks_a_promise_once_is_not_taken_and_gets_no_more_pairs() -> None:
    def slo(params: Params) -> Outcome:
        return (
            gave(150.0, slo=0.1 if params.flags and "c" not in params.flags else 0.0) if params.flags else gave(100.0)
        )

    made = played(slo, ("c",), pairs=5)
    assert tried(made) == [({"c"}, False)]
    assert sum("c" not in flags_of(each.params) and bool(flags_of(each.params)) for each in made.attempts) == 1
    assert "it kept every constraint in 0 of 1 runs" in simplified_text(found(made))


@pytest.mark.parametrize(("worth", "simplify"), [(speeds(a=-0.1), 3), (speeds(a=0.2), 0)])
def test_without_a_win_or_unless_it_was_asked_for_nothing_is_simplified(worth: Worth, simplify: int) -> None:
    made = played(worth, ("b",), most=simplify)
    assert (made.drops, made.simplification) == (None, None)


def test_nobody_begins_before_it_was_predicted_and_then_it_is_predicted_once() -> None:
    made = simplified_study(speeds(a=0.2), FLAGS, simplify=1, pairs=2)
    made.confirm()
    waiting = unthought(made.spec, made.attempts, made.workers, None)
    assert waiting is not None
    assert made.next() is None
    made.drops = Drops(winner=waiting.winner.params or Params(), groups=(("b",),), default={})
    assert unthought(made.spec, made.attempts, made.workers, made.drops) is None
    assert made.next() is not None
    other = replace(made.drops, winner=Params(flags={"a": 1}))
    assert unthought(made.spec, made.attempts, made.workers, other) == waiting, "it is of another winner"


def test_two_workers_have_pairs_of_their_own_of_the_same_configuration() -> None:
    made = simplified_study(speeds(a=0.2), FLAGS, simplify=1, pairs=2)
    made.confirm()
    made.drops = Drops(winner=FULL, groups=(("b", "c"),), default={})
    made.workers = (worker_on("slot-0"), worker_on("slot-1"))
    first, second = (made.next(worker) for worker in ("slot-0", "slot-1"))
    assert first is not None
    running = made.begin(first, "slot-0")
    second = made.next("slot-1")
    assert second is not None
    assert (first.pair, second.pair) == (3, 4)
    assert {len(flags_of(first.params)), len(flags_of(second.params))} == {4, 2}
    made.end(running, gave(100.0))
    assert found(made).runs_left == 4
    assert "Without b, c: being measured." in simplified_text(found(made))


def test_what_depends_on_a_flag_goes_with_it_and_a_flag_of_which_nothing_is_known_is_gone() -> None:
    space: dict[str, Parameter] = {
        "drafts": Choice(type="choice", choices=("none", "eagle")),
        "depth": Choice(type="choice", choices=(1, 2), when={"drafts": "eagle"}),
        "fast": Switch(type="switch"),
    }
    full: dict[str, Scalar] = {"drafts": "eagle", "depth": 2, "fast": True}
    assert simpler(space, full, {"drafts": "none"}, {"drafts"}) == {"drafts": "none", "fast": True}
    assert simpler(space, full, {"drafts": "eagle"}, {"drafts"}) == {"drafts": "eagle", "depth": 2, "fast": True}
    assert simpler(space, full, {}, {"fast"}) == {"drafts": "eagle", "depth": 2}


@pytest.mark.parametrize(("maximize", "values"), [(True, (100.0, 150.0, 120.0)), (False, (100.0, 60.0, 80.0))])
def test_gains_that_follow_each_other_are_one_gain(maximize: bool, values: tuple[float, ...]) -> None:  # noqa: FBT001  a parameter of the test
    default, full, less = ([each, each] for each in values)
    first = estimate(full, default, maximize=maximize, confidence=0.95)
    second = estimate(less, full, maximize=maximize, confidence=0.95)
    assert first is not None
    assert second is not None
    both = chained(first, second, maximize=maximize, confidence=0.95)
    assert (both.share, both.low, both.high, both.winner) == pytest.approx((0.2, 0.2, 0.2, values[2]))


def test_the_interval_of_such_a_gain_holds_the_truth_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        steps = [
            estimate(list(gain * rng.lognormal(0, 0.02, 4)), [1.0] * 4, maximize=True, confidence=0.9)
            for gain in (1.3, 0.9)
        ]
        assert steps[0] is not None
        assert steps[1] is not None
        found = chained(steps[0], steps[1], maximize=True, confidence=0.9)
        held += found.low <= 1.3 * 0.9 - 1 <= found.high
    assert 0.85 <= held / 300 <= 0.95


def worth_of(flag: str, share: float, *, error: float = 0.001, needed: bool = False, holds: float = 1.0) -> FlagWorth:
    return FlagWorth(flag=flag, value=1, default=0, loss=Loss(share=share, error=error, holds=holds), needed=needed)


def test_first_all_that_is_predicted_to_be_idle_then_what_is_needed_for_want_of_knowledge() -> None:
    flags = (
        worth_of("a", 0.3, needed=True),
        worth_of("b", 0.002),
        worth_of("c", 0.001, error=0.05, needed=True),
        worth_of("d", 0.001, needed=True, holds=0.2),
        worth_of("e", 0.0),
    )
    winner = Params(flags=dict.fromkeys("abcdef", 1))
    made = drops_of(winner, Worths(flags=flags, loss=Loss(share=0, error=0, holds=1), default={"a": 0}), 0.01)
    assert made == Drops(winner=winner, groups=(("f", "e", "b"), ("c",)), default={"a": 0})
    assert drops_of(winner, None, 0.01).groups == ()
    only = Worths(flags=flags[:1], loss=Loss(share=0, error=0, holds=1), default={})
    assert drops_of(winner, only, 0.01).groups == (), "what the engine has anyway is not measured for its own sake"


def test_it_is_said_in_words_and_as_data() -> None:
    made = played(speeds(a=0.2, b=0.1), ("c", "d"), ("b",))
    said = simplified_text(found(made))
    assert said.startswith("2 of 4 flags keep the gain of trial 1 (a, b), measured: ")
    assert "The gain is not kept without b, c, d: -9.1 % against all of them (95 % CI -9.1 to -9.1 %); 2 pairs." in said
    document = simplification_document(found(made))
    assert document is not None
    assert [(step["left_out"], step["keeps"]) for step in document["steps"]] == [  # type: ignore[union-attr,call-overload,index]
        (["c", "d"], True),
        (["b", "c", "d"], False),
    ]
    assert (simplified_text(None), simplification_document(None)) == ("", None)
    assert simplified_text(found(played(speeds(a=0.2)))) == NOTHING


def test_where_every_flag_matters_little_is_lost_and_where_none_does_there_is_rarely_a_win() -> None:
    options = argparse.Namespace(studies=12, pairs=5, simplify=3, seed=1)
    three, equal = (play(world, options) for world in (WORLDS[0], WORLDS[-1]))
    assert three.wins == 12
    assert sum(three.flags) / 12 < 4
    assert max(three.lost) < 0.05
    assert abs(sum(three.bias) / 12) < 0.02
    assert equal.wins <= 2
