"""The search without any deployment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from optuna_tuner import Search
from optuna_tuner.errors import ConflictError, NotFoundError
from optuna_tuner.search.search import Suggestion
from optuna_tuner.values import Cause, Scalar

SPACE = {
    "tp": {"type": "choice", "choices": [1, 2, 4, 8]},
    "seqs": {"type": "choice", "choices": [8, 16, 32, 64, 128, 256, 512]},
    "tokens": {"type": "int", "low": 256, "high": 16384, "log": True},
    "memory": {"type": "float", "low": 0.6, "high": 0.95, "step": 0.05},
    "draft": {"type": "switch"},
    "drafted": {"type": "int", "low": 1, "high": 8, "when": {"draft": True}},
}
GOALS = {
    "objectives": [{"metric": "throughput", "direction": "maximize"}],
    "constraints": [{"metric": "ttft_ms.p99", "at_most": 500}],
}
DEFAULT = {"tp": 1, "seqs": 256, "tokens": 2048, "memory": 0.9, "draft": False}


def serve(params: Mapping[str, Scalar]) -> dict[str, float] | Cause:
    """A server in four lines: it peaks at 4 GPUs, 128 sequences and three drafted tokens, and needs memory."""
    tp, seqs, tokens = float(params["tp"]), float(params["seqs"]), float(params["tokens"])
    if seqs / tp > 200 * float(params["memory"]):
        return Cause.OUT_OF_MEMORY_POOL
    drafting = 1 - 0.1 * abs(int(params.get("drafted", 0)) - 3)
    speed = 1000 * math.exp(-((math.log2(tp) - 2) ** 2) / 4 - (math.log2(seqs) - 7) ** 2 / 8) * drafting
    return {"throughput": speed, "ttft_ms.p99": 80 * tokens / 1024 + 2000 / tp / tp}


def search(seed: int = 1, **changes: object) -> Search:
    return Search(SPACE, GOALS, seed=seed, default=DEFAULT, **changes)  # type: ignore[arg-type]


def play(one: Search, trials: int, watch: Callable[[Suggestion], None] = lambda _: None) -> None:
    for _ in range(trials):
        suggestion = one.ask()
        watch(suggestion)
        one.tell(suggestion.number, serve(suggestion.params))


def test_the_default_goes_first_then_the_named_ones_and_nothing_is_tried_twice() -> None:
    asked: list[Suggestion] = []
    named = {"tp": 4, "seqs": 64, "tokens": 1024, "memory": 0.9, "draft": False}
    play(search(first=[named]), 12, asked.append)
    assert [each.number for each in asked] == list(range(12))
    assert [asked[0].params, asked[1].params] == [DEFAULT, named]
    assert len({frozenset(each.params.items()) for each in asked}) == 12


def test_it_comes_close_to_the_best_in_few_trials_and_beats_random() -> None:
    found = {}
    for kind in ("serving", "random"):
        runs = [search(seed, sampler=kind) for seed in (2, 4, 5)]
        for one in runs:
            play(one, 22)
        found[kind] = sorted(one.best()[0].values[0] for one in runs)
    assert found["serving"][1] > max(800, *found["random"])  # the middle one against all


def test_the_same_seed_asks_the_same_again() -> None:
    first: list[Suggestion] = []
    again: list[Suggestion] = []
    play(search(3), 9, first.append)
    play(search(3), 9, again.append)
    assert first == again


def test_rules_are_kept_from_the_first_trial_on() -> None:
    def keep(suggestion: Suggestion) -> None:
        if suggestion.number:
            assert int(suggestion.params["tokens"]) >= 16 * int(suggestion.params["seqs"])

    play(search(rules=["tokens < 16 * seqs"]), 10, keep)


def test_what_is_being_tried_is_not_suggested_to_others() -> None:
    one = search()
    play(one, 8)
    waiting = [one.ask() for _ in range(4)]
    assert len({frozenset(each.params.items()) for each in waiting}) == 4
    for each in reversed(waiting):
        one.tell(each.number, serve(each.params))


def test_it_goes_on_where_it_was_left(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a{{b}}.db"
    play(search(storage=url), 4)
    later = search(storage=url)
    assert later.ask().number == 4
    assert later.best() == search(storage=url).best()


def test_two_objectives_give_a_front() -> None:
    goals = {
        "objectives": [
            {"metric": "throughput", "direction": "maximize"},
            {"metric": "gpus", "direction": "minimize"},
        ]
    }
    one = Search(SPACE, goals, seed=1)
    for _ in range(20):
        suggestion = one.ask()
        result = serve(suggestion.params)
        told = result if isinstance(result, Cause) else {**result, "gpus": float(suggestion.params["tp"])}
        one.tell(suggestion.number, told)
    front = sorted(one.best(), key=lambda each: each.values[1])
    assert len(front) > 1
    throughputs = [each.values[0] for each in front]
    assert throughputs == sorted(throughputs)


def test_where_nothing_is_feasible_there_is_no_best() -> None:
    one = search()
    for _ in range(4):
        one.tell(one.ask().number, Cause.OUT_OF_MEMORY_POOL)
    assert one.best() == []


def test_a_fault_of_the_machine_says_nothing_of_the_configuration() -> None:
    one = search()
    one.tell(one.ask().number, Cause.NODE_LOST)
    play(one, 3)
    assert one.best()


@pytest.mark.parametrize("bad", [{"throughput": 1.0}, {"throughput": math.inf, "ttft_ms.p99": 1.0}])
def test_a_result_without_what_the_goals_need_is_refused_and_may_be_told_again(bad: dict[str, float]) -> None:
    one = search()
    number = one.ask().number
    with pytest.raises(ValueError, match="the goals need a finite number"):
        one.tell(number, bad)
    one.tell(number, {"throughput": 1.0, "ttft_ms.p99": 1.0})
    with pytest.raises(ConflictError, match="told before"):
        one.tell(number, {"throughput": 1.0, "ttft_ms.p99": 1.0})
    with pytest.raises(NotFoundError, match="no configuration with the number 7"):
        one.tell(7, {"throughput": 1.0, "ttft_ms.p99": 1.0})


def test_what_cannot_be_read_is_said_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"tp.choice.choices"):
        Search({"tp": {"type": "choice", "choices": []}}, GOALS)
    with pytest.raises(ValueError, match="objectives"):
        Search(SPACE, {})


def test_where_what_is_believed_leaves_nothing_to_hope_for_it_is_doubted() -> None:
    """A middle size is far better than its neighbours tell, and the other parameters do nothing at all."""
    speeds = {512: 1000.0, 1024: 900.0, 2048: 1300.0, 4096: 700.0, 8192: 600.0}
    memory, seqs = [(80 + more) / 100 for more in range(8)], [128, 256, 512, 1024]
    space = {
        "tokens": {"type": "choice", "choices": list(speeds)},
        "memory": {"type": "choice", "choices": memory},
        "seqs": {"type": "choice", "choices": seqs},
    }
    first = [
        {"tokens": tokens, "memory": memory[3 * place % 8], "seqs": seqs[place % 4]}
        for place, tokens in enumerate([512, 1024, 4096, 8192] * 3)
    ]
    goals = {"objectives": [{"metric": "speed", "direction": "maximize"}]}
    one = Search(space, goals, seed=0, first=first, startup_trials=1)
    for _ in range(len(first) + 10):
        suggestion = one.ask()
        one.tell(suggestion.number, {"speed": speeds[int(suggestion.params["tokens"])]})
    assert one.best()[0].params["tokens"] == 2048


def test_how_long_a_trial_took_counts_in_what_is_tried_next() -> None:
    def asked(took_s: Callable[[Mapping[str, Scalar]], float | None]) -> list[Mapping[str, Scalar]]:
        one, seen = search(), list[Mapping[str, Scalar]]()
        for _ in range(12):
            suggestion = one.ask()
            seen.append(suggestion.params)
            one.tell(suggestion.number, serve(suggestion.params), took_s=took_s(suggestion.params))
        return seen

    assert asked(lambda _: None) != asked(lambda params: 10.0 * float(params["seqs"]))


def test_what_a_model_tells_of_configurations_is_learnt_from() -> None:
    """What fails, fails by a sum that no product of two sizes tells."""
    space = {name: {"type": "int", "low": 1, "high": 9} for name in "abcd"}
    goals = {"objectives": [{"metric": "speed", "direction": "maximize"}]}

    def full(params: Mapping[str, Scalar]) -> int:
        return int(params["a"]) - int(params["b"]) + int(params["c"]) - int(params["d"])

    def failures(estimates: Callable[[Mapping[str, Scalar]], list[int]]) -> int:
        one, count = Search(space, goals, seed=0, estimates=estimates), 0
        for _ in range(20):
            suggestion = one.ask()
            fails = full(suggestion.params) > 3
            count += fails
            speed = {"speed": sum(map(float, suggestion.params.values()))}
            one.tell(suggestion.number, Cause.OUT_OF_MEMORY_POOL if fails else speed)
        return count

    assert failures(lambda params: [full(params)]) < failures(lambda _: [])
