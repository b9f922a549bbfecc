"""A small engine of our own in three versions, put on the user's own shelf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Effect, Flag, FlagType
from optuna_tuner.catalog.text import to_text

SEQS = Flag(name="max_seqs", spellings=("--max-seqs", "-ms"), type=FlagType.INT, default=256)
SWAP = Flag(name="swap_space", spellings=("--swap-space",), type=FlagType.FLOAT, default=4.0)
DTYPE = Flag(
    name="kv_dtype",
    spellings=("--kv-dtype",),
    type=FlagType.TEXT,
    choices=("auto", "fp8"),
    default="auto",
    effect=Effect.QUALITY,
)
EAGER = Flag(name="eager", spellings=("--eager",), type=FlagType.SWITCH, default=False)
CHUNKED = Flag(name="chunked", spellings=("--chunked",), type=FlagType.SWITCH, default=True, negatable=True)
DRAFT = Flag(name="draft", spellings=("--draft",), type=FlagType.JSON, default=None, default_from="nothing")
ENGINE = "abacus"
VERSIONS = {
    "1.0.0": (SEQS, SWAP, DTYPE, EAGER),
    "1.9.0": (SEQS, SWAP, DTYPE, EAGER, CHUNKED),
    "1.10.0": (SEQS, DTYPE, EAGER, CHUNKED, DRAFT),
}


def catalogue(version: str) -> Catalogue:
    """One of the three."""
    return Catalogue(engine=ENGINE, version=version, source={"made": "by hand"}, flags=VERSIONS[version])


@pytest.fixture
def abacus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The engine's name; its catalogues lie on the user's shelf."""
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    yield from _shelved(tmp_path, ENGINE, VERSIONS)


@pytest.fixture
def forked_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A version of vLLM that only this user has: its flags are those of the newest abacus."""
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    for _ in _shelved(tmp_path, "vllm", ["1.10.0"]):
        yield "1.10.0"


def _shelved(home: Path, engine: str, versions: Iterable[str]) -> Iterator[str]:
    folder = home / "catalogues" / engine
    folder.mkdir(parents=True)
    for version in versions:
        text = to_text(replace(catalogue(version), engine=engine))
        (folder / f"{version}.json").write_text(text, encoding="utf-8")
    shelf.forget()
    yield engine
    shelf.forget()
