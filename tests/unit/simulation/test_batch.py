"""Continuous batching, step by step, without a clock; and whether it comes to what the closed form says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from optuna_tuner.memory.facts import of
from optuna_tuner.simulation.accelerators import accelerator
from optuna_tuner.simulation.batch import Group, Replica, Request, Work
from optuna_tuner.simulation.levels import Group as Rest
from optuna_tuner.simulation.outcome import resolved, steps_of
from optuna_tuner.simulation.place import Place
from optuna_tuner.simulation.playing import ClosedLoop
from optuna_tuner.simulation.server import Drafts, Prefill, Server
from optuna_tuner.simulation.steps import Steps
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.values import Json, Scalar

LLAMA_8B: Mapping[str, Json] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}
L40S = Place(version="0.33.0", accelerator=accelerator("L40S"), gpus=2, facts=of(LLAMA_8B), max_model_len=8192)
PLAIN = Server(
    attention_tp=1, slots=8, step_tokens=100, pool_tokens=10_000, cache_bytes=131072, graphs=8, start_s=0.0, block=1
)
APART = replace(PLAIN, prefill=Prefill.APART)


class Asker:
    """Requests, and how many tokens each has got."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def ask(self, prompt: int, reply: int) -> Request:
        place = len(self.got)
        self.got.append(0)

        def tell(count: int) -> None:
            self.got[place] += count

        return Request(prompt=prompt, reply=reply, tell=tell)


def group(server: Server, *requests: Request, accepted: float = 1.0) -> Group:
    found = Group(server, accepted)
    found.waiting.extend(requests)
    return found


def works(of_group: Group) -> Iterator[Work]:
    """Every step until nothing is left."""
    while len(of_group):
        work = of_group.plan()
        assert work.replies or work.pieces
        yield work
        for request, count in of_group.end(work):
            request.tell(count)


def shape(work: Work) -> tuple[int, list[int]]:
    """How many get tokens, and the sizes of the pieces of prompts."""
    return len(work.replies), [size for _, size in work.pieces]


def server_of(engine: str, place: Place = L40S, **flags: Scalar) -> tuple[Server, Steps]:
    found = resolved(engine, place, flags)
    assert isinstance(found, Server)
    return found, steps_of(place, found, flags)


def test_a_long_prompt_is_cut_into_the_tokens_of_a_step_and_its_last_piece_gives_the_first_token() -> None:
    asker = Asker()
    steps = list(works(group(PLAIN, asker.ask(250, 3))))
    assert list(map(shape, steps)) == [(0, [100]), (0, [100]), (0, [50]), (1, []), (1, [])]
    assert asker.got == [3]


def test_replies_go_first_and_prompts_get_what_is_left_of_the_step() -> None:
    asker = Asker()
    steps = list(works(group(PLAIN, asker.ask(90, 3), asker.ask(20, 2), asker.ask(100, 1))))
    assert list(map(shape, steps)) == [(0, [90, 10]), (1, [10, 89]), (2, [11])]


def test_a_prompt_that_may_not_be_cut_waits_until_it_fits_whole() -> None:
    asker = Asker()
    steps = list(works(group(replace(PLAIN, whole_prompts=True), asker.ask(60, 1), asker.ask(60, 1))))
    assert list(map(shape, steps)) == [(0, [60]), (0, [60])]


def test_where_prompts_do_not_mix_with_replies_they_go_first_and_replies_wait() -> None:
    asker = Asker()
    running = group(APART, asker.ask(80, 4))
    steps = works(running)
    assert shape(next(steps)) == (0, [80])
    assert shape(next(steps)) == (1, [])
    running.waiting.append(asker.ask(150, 1))
    assert list(map(shape, steps)) == [(0, [100]), (0, [50]), (1, []), (1, [])]


def test_a_server_that_holds_its_steps_looks_at_the_queue_only_then() -> None:
    asker = Asker()
    running = group(replace(APART, held_steps=3), asker.ask(10, 9))
    steps = works(running)
    assert shape(next(steps)) == (0, [10])
    running.waiting.append(asker.ask(10, 1))
    assert [shape(next(steps)) for _ in range(4)] == [(1, []), (1, []), (0, [10]), (1, [])]


def test_no_more_run_than_there_are_slots() -> None:
    asker = Asker()
    running = group(replace(PLAIN, slots=2), *(asker.ask(5, 3) for _ in range(5)))
    assert max(work.replies.__len__() for work in works(running)) == 2
    assert asker.got == [3] * 5


def test_who_finds_the_cache_full_loses_its_place_is_computed_again_and_gets_every_token_once() -> None:
    asker = Asker()
    running = group(replace(PLAIN, pool_tokens=60), asker.ask(20, 30), asker.ask(20, 30))
    pieces = [shape(work)[1] for work in works(running) if work.pieces]
    assert running.retracted == 1
    assert pieces[-1] == [30]  # the prompt, and the ten tokens that it had
    assert asker.got == [30, 30]


def test_a_cautious_server_lets_fewer_in_and_takes_nobody_back() -> None:
    asker = Asker()
    running = group(replace(PLAIN, pool_tokens=60, caution=1.0), asker.ask(20, 30), asker.ask(20, 30))
    assert max(work.replies.__len__() for work in works(running)) == 1
    assert running.retracted == 0


def test_drafts_give_more_tokens_a_step_and_no_more_than_were_asked_for() -> None:
    asker = Asker()
    drafted = replace(PLAIN, drafts=Drafts(steps=3, branches=1, tokens=4))
    steps = list(works(group(drafted, asker.ask(10, 11), accepted=2.5)))
    assert len(steps) == 1 + 4
    assert asker.got == [11]


def test_a_request_that_nobody_waits_for_frees_its_place() -> None:
    asker = Asker()
    running = group(replace(PLAIN, slots=1), asker.ask(10, 1000), asker.ask(10, 1000), asker.ask(10, 2))
    first, second, _ = (*running.waiting,)
    steps = works(running)
    next(steps)
    running.forget(second)
    running.forget(first)
    assert len(list(steps)) == 2
    assert asker.got[2] == 2


def test_groups_step_together_as_slowly_as_the_fullest() -> None:
    server, steps = server_of("vllm")
    asker = Asker()
    alone, both = Replica(steps, server), Replica(steps, replace(server, groups=2))
    alone.add(asker.ask(500, 1))
    both.add(asker.ask(500, 1))
    both.add(asker.ask(10, 1))
    assert [len(each) for each in both.groups] == [1, 1]
    assert both.begin() == alone.begin()


SERVERS = some.builds(
    replace,
    some.sampled_from([PLAIN, APART, replace(PLAIN, drafts=Drafts(steps=2, branches=1, tokens=3))]),
    slots=some.integers(1, 6),
    step_tokens=some.integers(8, 60),
    pool_tokens=some.integers(120, 400),
    block=some.sampled_from([1, 16]),
    caution=some.sampled_from([0.0, 0.5]),
    held_steps=some.integers(1, 3),
)
ASKED = some.lists(some.tuples(some.integers(1, 60), some.integers(1, 40)), min_size=1, max_size=12)


@given(server=SERVERS, asked=ASKED)
@settings(max_examples=60, deadline=None)
def test_whatever_is_asked_nothing_is_overfilled_and_everybody_gets_just_their_tokens(
    server: Server, asked: list[tuple[int, int]]
) -> None:
    asker = Asker()
    running = group(server, *(asker.ask(prompt, reply) for prompt, reply in asked), accepted=1.5)
    verified = server.drafts.tokens if server.drafts else 1
    for work in works(running):
        tokens = len(work.replies) * verified + sum(size for _, size in work.pieces)
        assert tokens <= server.step_tokens or server.prefill is Prefill.APART
        assert len(running.running) <= server.slots
        held = sum(each.prompt + each.given for each in running.running)
        assert held <= server.pool_tokens or len(running.running) == 1
    assert asker.got == [reply for _, reply in asked]


@pytest.mark.parametrize(
    ("engine", "version", "flags"),
    [("vllm", "0.33.0", {}), ("vllm", "0.33.0", {"tensor_parallel_size": 2}), ("sglang", "0.5.23", {})],
)
@pytest.mark.parametrize("clients", [1, 16])
def test_what_is_played_step_by_step_comes_to_what_the_closed_form_says(
    engine: str, version: str, flags: Mapping[str, Scalar], clients: int
) -> None:
    server, steps = server_of(engine, replace(L40S, version=version), **flags)
    traffic = Traffic(input_tokens=1000, output_tokens=200, levels=(clients,), requests=20)
    played = ClosedLoop(replica=Replica(steps, server), traffic=traffic, clients=clients, requests=20 * clients).play()
    rest = Rest(steps, server, traffic).level(clients).metrics
    for name in ("tpot_ms.mean", "e2e_latency_ms.mean", "output_throughput_tok_s"):
        assert played[name] == pytest.approx(rest[name], rel=0.1)
