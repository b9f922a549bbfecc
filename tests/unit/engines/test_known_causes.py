"""The signs in engines/causes: each one against what servers printed, others' and our own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from optuna_tuner.engines.diagnosis import by_sign, diagnosed, retractions
from optuna_tuner.engines.known_causes import Pressure, Sign, common_signs, sign_book
from optuna_tuner.values import Cause

MATERIAL = Path(__file__).parents[2] / "material" / "engines"
ENGINES = ("vllm", "sglang", "llama_cpp")
PUBLISHED = yaml.safe_load((MATERIAL / "published.yaml").read_text(encoding="utf-8"))
OWN = {
    "vllm-4-blocks": "pool-below-longest-sequence-estimated",
    "vllm-bad-choice": "bad-flag-value",
    "vllm-kv-100-gib": "pool-above-free-memory",
    "vllm-port-in-use": "port-in-use",
    "vllm-seqs-above-tokens": "refused-by-validation",
    "vllm-too-long": "refused-by-validation",
    "vllm-unchunked": "refused-by-validation",
    "vllm-unknown-flag": "unknown-flag",
    "sglang-not-installed": "missing-package",
    "llama-cpp-300-slots": "too-many-slots",
    "llama-cpp-bad-choice": "bad-flag-value",
    "llama-cpp-huge-context": "out-of-memory-starting",
    "llama-cpp-negative-context": "context-refused",
    "llama-cpp-no-model": "model-file-missing",
    "llama-cpp-no-slots": "bad-flag-value",
    "llama-cpp-port-in-use": "port-taken",
    "llama-cpp-quantized-v-cache": "quantized-v-without-flash-attention",
    "llama-cpp-unknown-flag": "unknown-flag",
}


def text(name: str) -> str:
    return (MATERIAL / f"{name}.log").read_text(encoding="utf-8")


def engine_of(name: str) -> str:
    return next(engine for engine in ENGINES if name.startswith(engine.replace("_", "-")))


def log_of(entry: dict[str, str]) -> str:
    """What was published, behind the line which says that the server was ready, where it was."""
    ready = f"{sign_book(entry['engine']).ready}\n" if entry.get("serving") else ""
    return ready + entry["log"]


def known(engine: str) -> dict[str, Sign]:
    return {sign.id: sign for sign in (*sign_book(engine).signs, *common_signs())}


def shows(engine: str, log: str, wanted: str) -> bool:
    """Whether this sign, and none before it, is what the log is read by."""
    found = by_sign(engine, log)
    return found is not None and found[0] is known(engine)[wanted]


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: str(entry["what"]))
def test_a_published_failure_is_read_by_its_sign_and_told_with_its_cause(entry: dict[str, str]) -> None:
    found = diagnosed(entry["engine"], log_of(entry), 1)
    assert shows(entry["engine"], log_of(entry), entry["sign"]), found
    assert found.cause.value == entry["cause"]
    assert "core initialization failed" not in found.evidence


@pytest.mark.parametrize("name", OWN)
def test_a_failure_of_an_own_run_is_read_by_its_sign(name: str) -> None:
    assert shows(engine_of(name), text(name), OWN[name]), diagnosed(engine_of(name), text(name), 1)


def test_every_sign_is_shown_by_what_a_server_printed() -> None:
    shown = {(entry["engine"], entry["sign"]) for entry in PUBLISHED} | {
        (engine_of(n), sign) for n, sign in OWN.items()
    }
    own = {(engine, sign.id) for engine in ENGINES for sign in sign_book(engine).signs}
    assert own - shown == set()
    assert {sign.id for sign in common_signs()} - {sign for _, sign in shown} == set()


def test_every_failure_names_its_thread_and_every_sign_its_source() -> None:
    assert all(entry["source"].startswith("https://github.com/") for entry in PUBLISHED)
    for engine in ENGINES:
        assert len(known(engine)) == len(sign_book(engine).signs) + len(common_signs())  # no name twice
        assert all(sign.source for sign in known(engine).values())


@pytest.mark.parametrize(
    ("engine", "name", "advice"),
    [
        ("vllm", "vllm-4-blocks", "holds sequences of 384 tokens, 4096 are asked for. Lower max_model_len to 384"),
        ("vllm", "vllm-unknown-flag", "does not know --no-such-flag 3"),
        ("vllm", "vllm-kv-100-gib", "100.0 GiB of KV cache are asked for"),
        ("llama_cpp", "llama-cpp-300-slots", "no more than 256 slots"),
    ],
)
def test_advice_has_what_the_line_tells(engine: str, name: str, advice: str) -> None:
    assert advice in diagnosed(engine, text(name), 1).exact_advice


def test_advice_says_which_way_to_go_where_two_ways_are_opposite() -> None:
    found = {entry["sign"]: diagnosed(entry["engine"], log_of(entry), 1).exact_advice for entry in PUBLISHED}
    assert "Raise gpu_memory_utilization" in found["no-pool"] or "Raise mem_fraction_static" in found["no-pool"]
    assert "lower max_num_seqs or gpu_memory_utilization" in found["warm-up-above-headroom"]
    assert "Lower mem_fraction_static" in found["graphs-above-headroom"]


def test_a_sign_whose_advice_names_what_its_pattern_does_not_find_is_refused() -> None:
    with pytest.raises(ValidationError, match="names \\['most'\\], which the pattern does not find"):
        Sign.model_validate({"id": "x", "pattern": "a", "cause": "crashed", "advice": "{most}", "source": "here"})
    with pytest.raises(ValidationError, match="no group `count`"):
        Pressure.model_validate({"pattern": "full", "source": "here"})


# https://github.com/kvcache-ai/ktransformers/issues/1969
SKIPPED = (
    "[2026-05-16 12:09:37] In import_model_classes: Ignore import error when loading sglang.srt.models.glm_ocr: "
    "No module named 'transformers.models.glm_ocr'"
)


def test_a_package_that_is_done_without_is_no_cause() -> None:
    log = f"{SKIPPED}\n[2026-05-16 12:09:38] AssertionError: chunked_prefill_size must be divisible by page_size\n"
    assert diagnosed("sglang", log, 1).cause is Cause.BAD_COMBINATION


# https://github.com/sgl-project/sglang/issues/4184, three of its sixteen ranks: two requests
RETRACTED = "".join(
    f"[2025-03-07 21:49:{at} TP{rank}] Decode out of memory happened. #retracted_reqs: 1, #new_token_ratio: {ratio}\n"
    for at, ratio in ((33, "0.1474 -> 0.1845"), (45, "0.0980 -> 0.1919"))
    for rank in (13, 12, 10)
)
FULL = "KV cache pool is full. Retract requests. #retracted_reqs: 1, #new_tokens_gained: 646, #new_token_ratio: 0.1"


def test_retractions_are_added_up_once_for_all_ranks_of_an_engine() -> None:
    assert retractions("sglang", RETRACTED) == 2
    assert retractions("sglang", f"[2026-09-13 16:06:07] {FULL}\n[2026-09-13 16:06:08] {FULL}\n") == 2
    apart = [f"[2026-09-13 16:06:07 DP{engine} TP{rank}] {FULL}" for engine in (0, 1) for rank in (0, 1)]
    assert retractions("sglang", "\n".join(apart)) == 2
    assert retractions("sglang", "all is well") == 0
    assert retractions("llama_cpp", text("llama-cpp-serving")) == 0


def test_a_retraction_is_no_failure() -> None:
    log = f"The server is fired up and ready to roll!\n{RETRACTED}[2025-03-07 21:50:00] Killed\n"
    assert diagnosed("sglang", log, 137).cause is Cause.CRASHED
