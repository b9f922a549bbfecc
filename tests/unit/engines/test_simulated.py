"""The simulated engine is the true one in all but the server, and its server fails in the true one's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue, ValidationError

from optuna_tuner.catalog import shelf
from optuna_tuner.engines.simulated import Simulated, SimulatedOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.simulation import engine_log
from optuna_tuner.simulation.arguments import read
from optuna_tuner.simulation.server import Refusal
from optuna_tuner.spec.files import load_study, parse_study
from optuna_tuner.testing.engine_cases import NOBODY
from optuna_tuner.values import Cause, Model, Params, Scalar, Slot

CONFIG: dict[str, JsonValue] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
}
MODEL = Model(name="tiny", path="/nowhere", tokenizer="/nowhere")
CPU = Slot(name="cpu", host="here", cores=(0, 1))
VERSIONS = {"vllm": "0.33.0", "sglang": "0.5.23"}
OPTIONS: dict[str, JsonValue] = {"like": "vllm", "version": "0.33.0", "gpu": "L40S", "config": CONFIG}
STUDY = Path(__file__).parents[3] / "studies" / "simulated-vllm.yaml"


def simulated(like: str = "vllm", **more: JsonValue) -> Simulated:
    return Simulated(SimulatedOptions.model_validate({**OPTIONS, "like": like, "version": VERSIONS[like], **more}))


def rejected(engine: Simulated, **flags: Scalar) -> str:
    return engine.reject(MODEL, Params(flags=flags), CPU) or ""


@pytest.mark.parametrize("like", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "cause",
    [
        Cause.BAD_COMBINATION,
        Cause.OUT_OF_MEMORY_POOL,
        Cause.OUT_OF_MEMORY_HEADROOM,
        Cause.OUT_OF_MEMORY_RUNTIME,
    ],
)
def test_what_a_simulated_server_prints_is_read_as_the_cause_that_it_had(like: str, cause: Cause) -> None:
    refusal = Refusal(cause=cause, why="out of memory, or refused", seconds=1.0, tokens=4000, room=1e9, needed=2e9)
    serving = [engine_log.ready(like)] if cause is Cause.OUT_OF_MEMORY_RUNTIME else []
    log = "\n".join([engine_log.arguments(like, {}), *serving, *engine_log.failure(like, refusal, 8192)])
    assert simulated(like).diagnose(log, 1).cause is cause


def test_a_pool_that_is_too_small_says_how_long_a_sequence_may_be_and_an_empty_one_does_not() -> None:
    small = Refusal(cause=Cause.OUT_OF_MEMORY_POOL, why="small", seconds=1.0, tokens=4000, room=1e9, needed=2e9)
    said = [
        simulated().diagnose("\n".join(engine_log.failure("vllm", each, 8192)), 1)
        for each in (small, replace(small, tokens=0))
    ]
    assert "Lower max_model_len to 4000" in said[0].exact_advice
    assert "leave nothing for the KV cache" in said[1].exact_advice


def test_requests_that_lose_their_place_are_counted_from_sglangs_log() -> None:
    log = "\n".join([engine_log.ready("sglang"), engine_log.retracted(2), engine_log.retracted(1)])
    assert simulated("sglang").retractions(NOBODY, log) == 3


def test_the_true_engines_rules_know_the_simulated_gpus_and_the_given_model() -> None:
    assert rejected(simulated(gpus=2), tensor_parallel_size=2) == ""
    assert "4" in rejected(simulated(gpus=2), tensor_parallel_size=4)
    assert "32" in rejected(simulated(gpus=3), tensor_parallel_size=3)
    assert rejected(simulated(), max_num_seqs=64, max_num_batched_tokens=32)


def test_a_model_of_which_nothing_is_known_cannot_be_simulated() -> None:
    assert "engine.config" in rejected(simulated(config=None))


def test_flags_that_make_no_difference_are_named_and_each_trial_says_that_it_is_simulated() -> None:
    params = Params(flags={"max_num_seqs": 8, "stream_interval": 4})
    assert simulated().remarks(MODEL, params, CPU)[0] == (
        "simulated, not measured: a model of vllm; it takes no notice of stream_interval"
    )


def test_what_it_runs_with_is_what_the_true_one_would() -> None:
    true = Vllm(VllmOptions(version="0.33.0"))
    params = Params(flags={"max_num_seqs": 8, "enable_prefix_caching": True})
    assert simulated().identity(MODEL, params, CPU) == true.identity(MODEL, params, CPU)
    assert simulated().catalogue() == true.catalogue()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "A100"}, 'does not know the GPU "A100"; known: H100'),
        ({"gpus": 0}, "greater than or equal to 1"),
        ({"config": {"model_type": "llama"}}, 'the config has no "'),
        ({"like": "llama_cpp"}, "'sglang' or 'vllm'"),
        ({"flags": {"tp": 2, "tensor-parallel-size": 2}}, "are the same flag"),
        ({"flags": {"port": 1}}, "port is set by the tuner itself"),
    ],
)
def test_options_that_cannot_be_are_refused(options: Mapping[str, JsonValue], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulatedOptions.model_validate({**OPTIONS, **options})


def test_a_study_of_simulated_servers_says_so_and_keeps_the_true_engines_catalogue() -> None:
    spec = load_study(STUDY, InstalledKinds())
    assert spec.notice.startswith("SIMULATED: a model of vllm")
    text = STUDY.read_text(encoding="utf-8")
    for right, wrong, message in (
        ("max_num_seqs: {", "max_num_seq: {", 'did you mean "max_num_seqs"'),
        (
            "enforce_eager: {type: switch}",
            "kv_cache_dtype: {type: choice, choices: [auto, fp8]}",
            "the model's answers",
        ),
    ):
        with pytest.raises(SpecError, match=message):
            parse_study(text.replace(right, wrong), "study.yaml", InstalledKinds())


def test_the_true_engines_command_line_is_read_by_its_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = shelf.load("vllm", "0.33.0")
    line = "meta/llama --host ::1 --port 7 --served-model-name tiny --max-model-len 4096 --no-enable-prefix-caching"
    asked = read("vllm", catalogue, [*line.split(), "--compilation-config.mode", "3", "--seed", "1"])
    assert (asked.model, asked.name, asked.host, asked.port, asked.length) == ("meta/llama", "tiny", "::1", 7, 4096)
    assert asked.given == {"max_model_len": 4096, "enable_prefix_caching": False, "seed": 1}
    assert asked.flags == {"max_model_len": 4096, "enable_prefix_caching": False}
    with pytest.raises(SystemExit) as ended:
        read("vllm", catalogue, ["m", "--no-such-flag", "3"])
    assert ended.value.code == 2
    assert simulated().diagnose(capsys.readouterr().err, 2).cause is Cause.BAD_FLAG
