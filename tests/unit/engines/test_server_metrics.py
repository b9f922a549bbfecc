"""What servers tell at /metrics is read by their own names, from pages of real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.server_metrics import names_of, read_any_page
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.metrics import SEEN_COUNTS, SEEN_GAUGES

MATERIAL = Path(__file__).parents[2] / "material" / "engines"
VLLM, SGLANG, LLAMA = (
    (MATERIAL / f"{name}.txt").read_text("utf-8")
    for name in ("vllm-metrics-busy", "sglang-metrics", "llama-cpp-metrics")
)


def test_a_busy_vllm_tells_of_its_queue_and_its_kv_cache() -> None:
    assert Vllm(VllmOptions()).told(VLLM) == {
        "server_running_requests": 8.0,
        "server_waiting_requests": 2.0,
        "server_kv_cache_use": pytest.approx(8 / 11),
        "server_preemptions": 0.0,
        "server_prefix_queries": 88.0,
        "server_prefix_hits": 0.0,
        "server_generated_tokens": 57.0,
    }


def test_one_rank_of_sglang_speaks_for_its_group() -> None:
    assert Sglang(SglangOptions()).told(SGLANG) == {
        "server_running_requests": 14.0,
        "server_waiting_requests": 18.0,
        "server_kv_cache_use": 0.94,
        "server_preemptions": 48.0,
        "server_prefix_hit_share": 0.25,
        "server_generated_tokens": 7557572.0,
    }


def test_llama_cpp_counts_its_slots_and_what_it_deferred() -> None:
    assert LlamaCpp(LlamaCppOptions()).told(LLAMA) == {
        "server_running_requests": 4.0,
        "server_waiting_requests": 2.0,
        "server_prefix_queries": 24.0,
        "server_prefix_hits": 0.0,
        "server_generated_tokens": 0.0,
    }


def test_engines_of_one_server_are_added_up_and_the_fullest_kv_cache_counts() -> None:
    second = VLLM + 'vllm:num_requests_running{engine="1",model_name="tiny"} 3.0\n'
    second += 'vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.9\n'
    told = Vllm(VllmOptions()).told(second)
    assert (told["server_running_requests"], told["server_kv_cache_use"]) == (11.0, 0.9)


def test_an_older_name_is_read_where_the_newer_one_is_not_there() -> None:
    assert Vllm(VllmOptions()).told("vllm:gpu_cache_usage_perc 0.5\n") == {"server_kv_cache_use": 0.5}


@pytest.mark.parametrize(
    "page", ["", "<html>no page</html>", "vllm:num_requests_running{ 3", "vllm:num_requests_running NaN"]
)
def test_what_is_no_page_tells_nothing(page: str) -> None:
    assert Vllm(VllmOptions()).told(page) == {}


def test_a_page_is_read_by_the_names_of_whoever_wrote_it() -> None:
    for page, engine in (
        (VLLM, Vllm(VllmOptions())),
        (SGLANG, Sglang(SglangOptions())),
        (LLAMA, LlamaCpp(LlamaCppOptions())),
    ):
        assert read_any_page(page) == engine.told(page)
    assert read_any_page("my_server:running 3\n") == {}


def test_every_name_of_ours_is_in_the_vocabulary() -> None:
    ours = {name for names in names_of().values() for name in names}
    assert ours <= SEEN_GAUGES.keys() | SEEN_COUNTS.keys()
