"""What the simulation of a server promises: physics where it is plain, failures where they must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from optuna_tuner.errors import NotFoundError
from optuna_tuner.memory.facts import of
from optuna_tuner.memory.layout import Settings
from optuna_tuner.simulation.accelerators import accelerator
from optuna_tuner.simulation.flags import Flags
from optuna_tuner.simulation.levels import Group
from optuna_tuner.simulation.outcome import Outcome, outcome
from optuna_tuner.simulation.pace import fit
from optuna_tuner.simulation.place import Place
from optuna_tuner.simulation.server import Drafts, Refusal, Server
from optuna_tuner.simulation.sglang_server import sglang_server
from optuna_tuner.simulation.shape import shape_of
from optuna_tuner.simulation.steps import Steps, accepted
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.simulation.vllm_server import vllm_server
from optuna_tuner.values import Cause, Json, LoadKind, Scalar

LLAMA_8B: Mapping[str, Json] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
CHAT = Traffic(input_tokens=1000, output_tokens=200, levels=(8, 64))
L40S = Place(version="0.24.0", accelerator=accelerator("L40S"), gpus=4, facts=of(LLAMA_8B), max_model_len=8192)
OLD_SGLANG = replace(L40S, version="0.5.12")
BIG = replace(L40S, facts=of({**LLAMA_8B, "num_hidden_layers": 128}))


def run(traffic: Traffic = CHAT, place: Place = L40S, engine: str = "vllm", **flags: Scalar) -> Outcome:
    return outcome(engine, place, traffic, flags)


def served(place: Place = L40S, **flags: Scalar) -> Server:
    found = vllm_server(place, Flags(flags))
    assert isinstance(found, Server)
    return found


def steps(server: Server) -> Steps:
    return Steps(L40S.accelerator, shape_of(L40S.facts, Settings()), server)


def throughput(found: Outcome) -> list[float]:
    return [each.metrics["output_throughput_tok_s"] for each in found.levels]


def test_the_same_flags_come_to_the_same() -> None:
    assert run(max_num_seqs=64) == run(max_num_seqs=64)


def test_more_tensor_parallelism_leaves_more_memory_to_the_cache_of_a_gpu() -> None:
    pools = [served(tensor_parallel_size=size).pool_tokens for size in (1, 2, 4)]
    assert pools[0] * 2 < pools[1]
    assert pools[1] * 2 < pools[2]


@pytest.mark.parametrize("reuse", [True, False])
def test_a_larger_cache_never_preempts_more_nor_runs_fewer(reuse: bool) -> None:  # noqa: FBT001
    traffic = replace(CHAT, shared=0.5, shared_tokens=20_000)
    server = replace(served(max_num_seqs=256), reuse=reuse)
    found = [fit(replace(server, pool_tokens=tokens), traffic, 256) for tokens in range(10_000, 600_000, 10_000)]
    assert [each.lost for each in found] == sorted((each.lost for each in found), reverse=True)
    assert [each.running for each in found] == sorted(each.running for each in found)
    assert found[0].lost > 0
    assert found[-1].lost == 0


def test_while_the_cache_suffices_more_requests_in_flight_give_more_output() -> None:
    server = replace(served(max_num_seqs=512), pool_tokens=10_000_000)
    group = Group(steps(server), server, CHAT)
    given = [group.level(load).metrics for load in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    assert [each["output_throughput_tok_s"] for each in given] == sorted(
        each["output_throughput_tok_s"] for each in given
    )
    assert [each["tpot_ms.p99"] for each in given] == sorted(each["tpot_ms.p99"] for each in given)


def test_requests_beyond_the_slots_wait_and_give_no_more_output() -> None:
    few, many = run(replace(CHAT, levels=(16, 64)), max_num_seqs=16).levels
    assert many.metrics["output_throughput_tok_s"] == pytest.approx(few.metrics["output_throughput_tok_s"])
    assert many.metrics["ttft_ms.mean"] > 10 * few.metrics["ttft_ms.mean"]


def test_a_faster_gpu_is_faster_at_everything() -> None:
    slow, fast = (run(place=replace(L40S, accelerator=accelerator(name))) for name in ("L40S", "H100"))
    for before, after in zip(slow.levels, fast.levels, strict=True):
        assert after.metrics["output_throughput_tok_s"] > before.metrics["output_throughput_tok_s"]
        assert after.metrics["tpot_ms.p99"] < before.metrics["tpot_ms.p99"]


def test_requests_in_flight_are_rate_times_time_in_the_system() -> None:
    for load, each in zip(CHAT.levels, run(max_num_seqs=64).levels, strict=True):
        whole_s = each.metrics["e2e_latency_ms.mean"] / 1e3
        assert each.metrics["request_rate_req_s"] * whole_s == pytest.approx(load, rel=0.1)


def test_percentiles_do_not_fall() -> None:
    for each in run(max_num_seqs=32, max_num_batched_tokens=512, gpu_memory_utilization=0.6).levels:
        for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_latency_ms"):
            mean, p95, p99 = (each.metrics[f"{name}.{statistic}"] for statistic in ("mean", "p95", "p99"))
            assert 0 < mean <= p95 <= p99


def test_graphs_start_later_and_decode_faster() -> None:
    eager, graphs = run(enforce_eager=True), run(enforce_eager=False)
    assert eager.start_s < graphs.start_s
    assert throughput(eager)[0] < throughput(graphs)[0]


def test_small_steps_keep_the_gaps_between_tokens_short_and_first_tokens_waiting() -> None:
    traffic = replace(CHAT, input_tokens=6000, levels=(32,))
    small, large = (run(traffic, max_num_batched_tokens=tokens).levels[0].metrics for tokens in (512, 8192))
    assert small["itl_ms.p99"] < large["itl_ms.p99"]
    assert small["ttft_ms.mean"] > large["ttft_ms.mean"]


def test_the_beginnings_of_prompts_are_reused_only_where_they_are_kept() -> None:
    traffic = replace(CHAT, shared=0.8, shared_tokens=5_000)
    kept, forgotten = (run(traffic, enable_prefix_caching=on) for on in (True, False))
    assert all(more > less for more, less in zip(throughput(kept), throughput(forgotten), strict=True))


def test_requests_that_arrive_faster_than_they_go_make_the_queue_grow() -> None:
    rates = Traffic(input_tokens=1000, output_tokens=200, load=LoadKind.REQUEST_RATE, levels=(1, 500), requests=60)
    calm, flooded = run(rates).levels
    assert calm.metrics["request_rate_req_s"] == pytest.approx(1)
    assert calm.metrics["ttft_ms.p99"] < 1_000
    assert flooded.metrics["request_rate_req_s"] < 500
    assert flooded.metrics["ttft_ms.p99"] > 30_000


def test_drafts_win_with_few_requests_and_lose_with_many() -> None:
    traffic = replace(CHAT, input_tokens=200, levels=(1, 256))
    flags: dict[str, Scalar] = {"max_running_requests": 256, "mem_fraction_static": 0.8, "cuda_graph_max_bs": 256}
    drafts: dict[str, Scalar] = {"speculative_algorithm": "EAGLE", "speculative_num_steps": 5}
    plain = throughput(run(traffic, OLD_SGLANG, "sglang", **flags))
    drafted = throughput(run(traffic, OLD_SGLANG, "sglang", **flags, **drafts))
    assert drafted[0] > plain[0]
    assert drafted[1] < plain[1]


def test_no_more_tokens_are_accepted_than_were_proposed() -> None:
    assert 1 < accepted(Drafts(steps=1, branches=1, tokens=2)) < accepted(Drafts(steps=5, branches=1, tokens=6)) < 6


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        ({"tensor_parallel_size": 8}, Cause.BAD_COMBINATION),
        ({"tensor_parallel_size": 2, "data_parallel_size": 4}, Cause.BAD_COMBINATION),
        ({"max_num_seqs": 1024, "max_num_batched_tokens": 512}, Cause.BAD_COMBINATION),
        ({"enable_chunked_prefill": False, "max_num_batched_tokens": 4096}, Cause.BAD_COMBINATION),
        ({"enable_expert_parallel": True, "tensor_parallel_size": 2}, Cause.BAD_COMBINATION),
        ({"gpu_memory_utilization": 0.35}, Cause.OUT_OF_MEMORY_POOL),
        ({"gpu_memory_utilization": 0.999}, Cause.OUT_OF_MEMORY_HEADROOM),
        ({"gpu_memory_utilization": 0.98, "max_num_batched_tokens": 32768}, Cause.OUT_OF_MEMORY_RUNTIME),
    ],
)
def test_vllm_fails_where_it_must(flags: Mapping[str, Scalar], cause: Cause) -> None:
    found = outcome("vllm", L40S, CHAT, flags)
    assert (found.cause, found.levels) == (cause, ())
    assert found.why


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        ({"tp_size": 3}, Cause.BAD_COMBINATION),
        ({"attention_backend": "fa3"}, Cause.BAD_COMBINATION),
        ({"page_size": 64, "chunked_prefill_size": 1000}, Cause.BAD_COMBINATION),
        ({"mem_fraction_static": 0.3}, Cause.OUT_OF_MEMORY_POOL),
        ({"mem_fraction_static": 0.995}, Cause.OUT_OF_MEMORY_HEADROOM),
        ({"mem_fraction_static": 0.95, "chunked_prefill_size": 16384}, Cause.OUT_OF_MEMORY_RUNTIME),
    ],
)
def test_sglang_fails_where_it_must(flags: Mapping[str, Scalar], cause: Cause) -> None:
    found = outcome("sglang", OLD_SGLANG, CHAT, flags)
    assert (found.cause, found.levels) == (cause, ())


def test_what_compiles_too_long_is_not_ready_and_costs_all_the_patience() -> None:
    found = run(place=replace(OLD_SGLANG, patience_s=120), engine="sglang", enable_torch_compile=True)
    assert (found.cause, found.start_s) == (Cause.NOT_READY, 120)


def test_a_model_that_does_not_fit_on_one_gpu_runs_on_four() -> None:
    assert run(place=BIG).cause is Cause.OUT_OF_MEMORY_POOL
    assert run(place=BIG, tensor_parallel_size=4).cause is None


def test_failures_are_the_sooner_known_the_earlier_they_happen() -> None:
    refused, pool, headroom = (
        run(**flags).seconds
        for flags in (
            {"tensor_parallel_size": 8},
            {"gpu_memory_utilization": 0.35},
            {"gpu_memory_utilization": 0.999},
        )
    )
    assert refused < pool < headroom


def test_attention_groups_have_a_pool_each_and_a_part_of_the_requests() -> None:
    flags: dict[str, Scalar] = {"tp_size": 4, "max_running_requests": 128}
    whole = sglang_server(replace(OLD_SGLANG, version="0.5.23"), Flags(flags))
    parted = sglang_server(replace(OLD_SGLANG, version="0.5.23"), Flags({**flags, "attn_dp_size": 4}))
    assert not isinstance(whole, Refusal)
    assert not isinstance(parted, Refusal)
    assert (parted.groups, parted.slots, whole.slots) == (4, 32, 128)
    assert parted.pool_tokens < whole.pool_tokens


def test_unknown_words_are_named() -> None:
    with pytest.raises(ValueError, match="does not know the flag swap_space"):
        run(swap_space=4)
    with pytest.raises(TypeError, match="max_num_seqs should be a whole number"):
        run(max_num_seqs="many")
    with pytest.raises(NotFoundError, match='the engine "llama_cpp"; known: sglang, vllm'):
        run(engine="llama_cpp")
    with pytest.raises(NotFoundError, match='"A100"; known: H100'):
        accelerator("A100")
