"""What limits a server is told with its evidence, from what was seen at its highest load; or it is not told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reported import SWEEP, report_on, sweep_study

from optuna_tuner.catalog import shelf
from optuna_tuner.results.bottleneck import Limit
from optuna_tuner.results.bottleneck.judging import bottleneck_of, judged, moves_book
from optuna_tuner.results.bottleneck.sighting import Level, Sighting
from optuna_tuner.results.report.html import html
from optuna_tuner.results.report.markdown import markdown
from optuna_tuner.values import Load, LoadKind

PAGE = (Path(__file__).parents[3] / "docs" / "explanation" / "bottleneck.md").read_text(encoding="utf-8")
CALM = {
    "looks": 20,
    "server_running_requests.mean": 16,
    "server_running_requests.max": 16,
    "client_cpu_cores.mean": 0.2,
}
BUSY_GPU = {"gpu_busy.mean": 0.98, "server_busiest_process_cores.mean": 0.5}


def seen(
    below: dict[str, float] | None = None,
    *,
    values: dict[str, float] | None = None,
    load: float = 16,
    kind: LoadKind = LoadKind.CONCURRENCY,
    **known: object,
) -> Sighting:
    """A server at 16 requests in flight that gave 5 % more than at 8; `values` were seen of it."""
    figures = {"output_throughput_tok_s": 105.0, "tpot_ms.mean": 20.0, "request_rate_req_s": 1.0}
    top = Level(load=Load(value=load, kind=kind), metrics=figures, seen={})
    low = {"output_throughput_tok_s": 100.0, "tpot_ms.mean": 10.0, "request_rate_req_s": 0.9}
    lower = Level(
        load=Load(value=load / 2, kind=kind),
        metrics=low | (below or {}),
        seen=CALM | {"server_running_requests.mean": 8},
    )
    base = Sighting(engine="vllm", client="http", top=top, below=lower, slots=None, cores=None, retractions=0)
    return replace(base, top=replace(top, seen=CALM | (values or {})), **known)  # type: ignore[arg-type]


def test_a_client_without_time_is_told_before_all_else() -> None:
    found = judged(seen(values={"client_cpu_cores.mean": 0.97, "server_preemptions": 5}))
    assert found.limit is Limit.CLIENT
    assert "0.97 of the one core" in found.evidence[0]
    assert "beside that, memory capacity" in found.evidence[1]


def test_a_program_with_threads_of_its_own_may_use_more_than_a_core() -> None:
    assert judged(seen(values={"client_cpu_cores.mean": 3.5}, client="script")).limit is Limit.UNKNOWN


def test_requests_that_never_reach_the_server_are_on_their_way() -> None:
    found = judged(seen(values={"server_running_requests.mean": 3.0}))
    assert found.limit is Limit.NETWORK
    assert "16 requests were in flight, and the server had 3" in found.evidence[0]


def test_in_an_open_loop_nobody_knows_how_many_should_be_there() -> None:
    assert judged(seen(values={"server_running_requests.mean": 3.0}, kind=LoadKind.REQUEST_RATE)).limit is Limit.UNKNOWN


@pytest.mark.parametrize(
    "values", [{"server_preemptions": 3}, {"server_kv_cache_use.max": 0.99, "server_waiting_requests.mean": 4}]
)
def test_a_full_kv_cache_is_a_matter_of_memory(values: dict[str, float]) -> None:
    found = judged(seen(values=values))
    assert found.limit is Limit.MEMORY_CAPACITY
    assert any("gpu_memory_utilization" in move for move in found.moves)


def test_a_full_kv_cache_for_which_nobody_waits_limits_nobody() -> None:
    assert judged(seen(values={"server_kv_cache_use.max": 0.99})).limit is Limit.UNKNOWN


def test_retractions_that_only_the_log_told_count_too() -> None:
    assert judged(seen(retractions=7)).limit is Limit.MEMORY_CAPACITY


def test_more_load_that_gives_as_much_more_is_not_limited() -> None:
    found = judged(seen({"output_throughput_tok_s": 55.0}))
    assert found.limit is Limit.NONE
    assert "2 times the load gave 1.909 times" in found.evidence[0]


def test_a_rate_that_the_server_keeps_up_with_is_no_limit() -> None:
    assert judged(seen(load=1.0, kind=LoadKind.REQUEST_RATE)).limit is Limit.NONE


def test_a_queue_before_a_server_with_room_is_the_limit_on_running_requests() -> None:
    found = judged(seen(values={"server_waiting_requests.mean": 8, "server_kv_cache_use.max": 0.3}, slots=16.0))
    assert found.limit is Limit.QUEUEING
    assert found.evidence[1:] == ("as many ran as may, 16", "the KV cache was at most 30 % full")


def test_a_queue_is_not_told_where_the_kv_cache_might_be_full_unseen() -> None:
    assert judged(seen(values={"server_waiting_requests.mean": 8})).limit is Limit.UNKNOWN


def test_a_queue_before_busy_gpus_is_no_fault_of_the_queue() -> None:
    values = BUSY_GPU | {"server_waiting_requests.mean": 8, "server_kv_cache_use.max": 0.3}
    assert judged(seen(values=values)).limit is Limit.COMPUTE


def test_a_server_on_all_its_cores_is_limited_by_them() -> None:
    found = judged(seen(values={"server_cpu_cores.mean": 1.9}, cores=2))
    assert (found.limit, found.evidence) == (Limit.CPU, ("its processes used 1.9 of 2 cores",))
    assert judged(seen(values={"server_cpu_cores.mean": 1.0}, cores=2)).limit is Limit.UNKNOWN


def test_a_machine_that_is_busy_with_other_work_is_no_limit_of_the_server() -> None:
    found = judged(seen(values={"server_cpu_cores.mean": 0.04, "host_cpu_use.mean": 1.0}))
    assert found.limit is Limit.UNKNOWN
    assert any("other programs" in each for each in found.missing)


def test_moves_are_whole_sentences() -> None:
    book = moves_book()
    moves = [move for limit, by in book.items() if limit != "slots" for each in by.values() for move in each]
    assert [move for move in moves if not (move[0].isupper() and move.endswith("."))] == []


def test_gpus_that_wait_for_a_busy_process_are_limited_by_it() -> None:
    values = {"gpu_busy.mean": 0.4, "server_busiest_process_cores.mean": 0.99}
    assert judged(seen(values=values)).limit is Limit.CPU


def test_a_step_that_takes_as_long_with_more_requests_is_limited_by_reading() -> None:
    assert judged(seen({"tpot_ms.mean": 19.0}, values=BUSY_GPU)).limit is Limit.MEMORY_BANDWIDTH


def test_a_step_that_grows_with_its_requests_is_limited_by_arithmetic() -> None:
    assert judged(seen({"tpot_ms.mean": 10.0}, values=BUSY_GPU)).limit is Limit.COMPUTE


def test_a_step_that_grows_while_memory_is_busy_too_is_not_told_apart() -> None:
    assert judged(seen({"tpot_ms.mean": 10.0}, values=BUSY_GPU | {"gpu_memory_busy.mean": 0.8})).limit is Limit.UNKNOWN


@pytest.mark.parametrize(("busy", "limit"), [(0.8, Limit.MEMORY_BANDWIDTH), (0.2, Limit.COMPUTE)])
def test_of_a_single_load_nvml_alone_tells(busy: float, limit: Limit) -> None:
    alone = replace(seen(values=BUSY_GPU | {"gpu_memory_busy.mean": busy}), below=None)
    assert judged(alone).limit is limit


def test_a_few_looks_tell_nothing_and_it_says_why() -> None:
    found = judged(seen(values={"looks": 2, "server_preemptions": 9}))
    assert found.limit is Limit.UNKNOWN
    assert found.missing[0] == "The server was looked at 2 times only: let the load last longer."


def test_of_a_server_that_tells_nothing_it_is_said_how_it_would() -> None:
    blind = replace(seen(), engine="sglang", top=replace(seen().top, seen={"looks": 9.0}))
    assert "enable_metrics" in "".join(judged(blind).missing)


def test_every_limit_has_moves_and_is_explained() -> None:
    assert set(moves_book()) == {each.value for each in Limit} | {"slots"}
    assert [each.value for each in Limit if f"| {each.value} |" not in PAGE] == []


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_every_flag_among_the_moves_is_one_of_the_newest_version(engine: str) -> None:
    names = shelf.nearest(engine, None).names()
    book = moves_book()
    said = " ".join(move for limit, moves in book.items() if limit != "slots" for move in moves.get(engine, ()))
    flags = {word.strip(".,;:") for word in said.split() if "_" in word} | {str(book["slots"][engine])}
    assert sorted(flags - set(names)) == []


def test_a_trial_of_an_older_version_has_none() -> None:
    study = sweep_study()
    best = study.best.trial
    assert best is not None
    found = bottleneck_of(study.spec, best)
    assert found is not None
    assert found.limit is Limit.UNKNOWN
    assert found.missing == ("The server was not looked at while it worked (limits.watch_every_s).",)


def test_the_report_says_what_limits_the_recommended_trial() -> None:
    study = sweep_study()
    best = study.best.trial
    assert best is not None
    at = CALM | {"server_waiting_requests.mean": 16.0, "server_kv_cache_use.max": 0.97}
    levels = tuple(replace(each, seen=at) for each in best.measurements)
    told = replace(study, best=replace(study.best, trials=(replace(best, measurements=levels),)))
    made = report_on(told)
    assert made.bottleneck is not None
    assert (made.bottleneck.limit, len(made.bottleneck.seen)) == ("memory capacity", len(SWEEP))
    for text in (markdown(made), html(made)):
        assert "What limits it at concurrency=32, as a hypothesis: memory capacity." in text
        assert "the KV cache was up to 97 % full" in text
