"""Search spaces that others have published: the flags of theirs that an engine's version no longer takes are named.

Which flags each space names is read off the projects' own files, as of 2026.
"""

from __future__ import annotations

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.history import absence

SPACES: dict[str, tuple[str, str]] = {
    "auto-tuning-vllm, example": (
        "vllm",
        (
            "max-num-batched-tokens gpu-memory-utilization kv-cache-dtype block-size cuda-graph-sizes "
            "long-prefill-token-threshold max-num-partial-prefills max-seq-len-to-capture"
        ),
    ),
    "novita, vLLM preset": (
        "vllm",
        (
            "tensor-parallel-size gpu-memory-utilization kv-cache-dtype block-size swap-space max-num-batched-tokens "
            "max-num-seqs enable-chunked-prefill max-num-partial-prefills enable-prefix-caching"
        ),
    ),
    "vllm-tuner": (
        "vllm",
        (
            "gpu-memory-utilization max-num-seqs max-num-batched-tokens enable-chunked-prefill enable-prefix-caching "
            "kv-cache-dtype block-size swap-space"
        ),
    ),
    "SCOOT": (
        "vllm",
        (
            "tensor-parallel-size max-num-seqs max-num-batched-tokens block-size scheduler-delay-factor "
            "enable-chunked-prefill enable-prefix-caching disable-custom-all-reduce use-v2-block-manager"
        ),
    ),
    "SGLang cookbook, vLLM arm": (
        "vllm",
        (
            "max-num-seqs max-num-batched-tokens long-prefill-token-threshold max-num-partial-prefills "
            "max-long-partial-prefills"
        ),
    ),
    "auto_tune.sh": (
        "vllm",
        "max-num-seqs max-num-batched-tokens gpu-memory-utilization load-format disable-log-requests",
    ),
    "RBG, vLLM": (
        "vllm",
        "attention-backend speculative-model num-speculative-tokens max-num-seqs gpu-memory-utilization",
    ),
    "SLO-Guard": (
        "vllm",
        (
            "max-num-seqs max-num-batched-tokens gpu-memory-utilization max-model-len enforce-eager "
            "enable-chunked-prefill enable-prefix-caching"
        ),
    ),
    "novita, SGLang preset": (
        "sglang",
        (
            "tp-size mem-fraction-static max-prefill-tokens max-running-requests cuda-graph-max-bs "
            "schedule-conservativeness schedule-policy chunked-prefill-size attention-backend enable-mixed-chunk "
            "num-continuous-decode-steps kv-cache-dtype page-size radix-eviction-policy triton-attention-num-kv-splits"
        ),
    ),
    "RBG, SGLang": (
        "sglang",
        "mem-fraction-static max-running-requests chunked-prefill-size schedule-policy enable-cuda-graph",
    ),
}
CUDA, CAPTURE, PARTIAL = "cuda-graph-sizes", "max-seq-len-to-capture", "max-num-partial-prefills"
OLD = {"scheduler-delay-factor", "use-v2-block-manager"}
SPECULATIVE = {"speculative-model", "num-speculative-tokens"}
REFUSED: dict[str, dict[str, set[str]]] = {
    "auto-tuning-vllm, example": {
        "0.11.0": {CAPTURE},
        "0.14.0": {CUDA, CAPTURE},
        "0.19.1": {CUDA, CAPTURE},
        "0.25.0": {CUDA, CAPTURE},
        "0.33.0": {CUDA, CAPTURE, PARTIAL},
    },
    "novita, vLLM preset": {
        "0.11.0": set(),
        "0.14.0": set(),
        "0.19.1": {"swap-space"},
        "0.25.0": {"swap-space"},
        "0.33.0": {"swap-space", PARTIAL},
    },
    "vllm-tuner": {
        **{version: set() for version in ("0.11.0", "0.14.0")},
        **{version: {"swap-space"} for version in ("0.19.1", "0.25.0", "0.33.0")},
    },
    "SCOOT": dict.fromkeys(("0.11.0", "0.14.0", "0.19.1", "0.25.0", "0.33.0"), OLD),
    "SGLang cookbook, vLLM arm": {
        **{version: set() for version in ("0.11.0", "0.14.0", "0.19.1", "0.25.0")},
        "0.33.0": {PARTIAL, "max-long-partial-prefills"},
    },
    "auto_tune.sh": {
        **{version: set() for version in ("0.11.0", "0.14.0")},
        **{version: {"disable-log-requests"} for version in ("0.19.1", "0.25.0", "0.33.0")},
    },
    "RBG, vLLM": {
        "0.11.0": {"attention-backend", *SPECULATIVE},
        **dict.fromkeys(("0.14.0", "0.19.1", "0.25.0", "0.33.0"), SPECULATIVE),
    },
    "SLO-Guard": {version: set() for version in ("0.11.0", "0.14.0", "0.19.1", "0.25.0", "0.33.0")},
    "novita, SGLang preset": {
        **{version: set() for version in ("0.5.6", "0.5.10", "0.5.12", "0.5.18")},
        **{version: {"cuda-graph-max-bs"} for version in ("0.5.20", "0.5.23")},
    },
    "RBG, SGLang": {version: {"enable-cuda-graph"} for version in ("0.5.3", "0.5.6", "0.5.12", "0.5.18", "0.5.23")},
}


@pytest.mark.parametrize(
    ("space", "version"), [(space, version) for space, versions in REFUSED.items() for version in versions]
)
def test_exactly_the_flags_that_a_version_refuses_are_named(space: str, version: str) -> None:
    engine, flags = SPACES[space]
    catalogue = shelf.load(engine, version)
    missing = {flag for flag in flags.split() if catalogue.find(flag) is None}
    assert missing == REFUSED[space][version]
    for flag in missing:
        assert version in absence(catalogue, flag).reason


def test_each_space_is_held_against_at_least_five_versions() -> None:
    assert SPACES.keys() == REFUSED.keys()
    assert {len(versions) for versions in REFUSED.values()} <= {5, 6}


def test_old_flags_of_a_preset_are_told_as_deprecated_before_they_are_gone() -> None:
    flag = shelf.load("sglang", "0.5.18").find("cuda-graph-max-bs")
    assert flag is not None
    assert flag.deprecated
