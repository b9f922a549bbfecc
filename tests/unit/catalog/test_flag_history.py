from __future__ import annotations

import pytest
from catalogues import CHUNKED, DRAFT, SWAP, catalogue

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.history import absence, difference, having


def test_a_flag_is_followed_through_all_versions(abacus: str) -> None:
    assert having(abacus, "swap-space") == ["1.0.0", "1.9.0"]
    assert having(abacus, "ms") == ["1.0.0", "1.9.0", "1.10.0"]
    assert having(abacus, "max") == []


def test_a_flag_that_is_gone_is_told_with_the_last_version_that_had_it(abacus: str) -> None:
    assert absence(shelf.load(abacus, "1.10.0"), "--swap-space").reason == (
        "is gone from abacus 1.10.0; the last with it was 1.9.0"
    )


def test_a_flag_that_is_yet_to_come_is_told_with_the_version_that_brings_it(abacus: str) -> None:
    assert absence(shelf.load(abacus, "1.0.0"), "draft").reason == "is not in abacus 1.0.0; it came with 1.10.0"


def test_a_flag_that_never_was_is_told_so(abacus: str) -> None:
    assert "nor of any other version" in absence(shelf.load(abacus, "1.0.0"), "beads").reason


def test_two_versions_differ_in_what_is_new_gone_and_changed() -> None:
    found = difference(catalogue("1.0.0"), catalogue("1.10.0"))
    assert (found.added, found.gone, found.changed) == ((CHUNKED, DRAFT), (SWAP,), ())
    assert difference(catalogue("1.0.0"), catalogue("1.0.0")).added == ()


@pytest.mark.parametrize(
    ("engine", "version", "flag", "new"),
    [
        ("sglang", "0.5.23", "cuda-graph-max-bs", "cuda_graph_max_bs_decode"),
        ("vllm", "0.33.0", "swap-space", ""),
        ("vllm", "0.33.0", "cuda-graph-sizes", "max_cudagraph_capture_size"),
        ("vllm", "0.33.0", "speculative-model", ""),
    ],
)
def test_real_renames_are_known(engine: str, version: str, flag: str, new: str) -> None:
    assert absence(shelf.load(engine, version), flag).new_name == new
