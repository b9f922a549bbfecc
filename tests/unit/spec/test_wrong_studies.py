"""Every wrong study file in `wrong/` is refused with exactly the words in the `.txt` beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from spec_kinds import NamedKinds

from optuna_tuner.errors import SpecError, UnknownPluginError
from optuna_tuner.spec.files import load_study, parse_study

WRONG = sorted(path for path in (Path(__file__).parent / "wrong").iterdir() if path.suffix != ".txt")


@pytest.mark.parametrize("file", WRONG, ids=lambda path: path.stem)
def test_a_wrong_study_is_refused_in_these_words(file: Path) -> None:
    with pytest.raises(SpecError) as caught:
        parse_study(file.read_text(encoding="utf-8"), "study.yaml", NamedKinds())
    assert str(caught.value) + "\n" == file.with_suffix(".txt").read_text(encoding="utf-8")


def test_the_corpus_is_large_enough() -> None:
    assert len(WRONG) >= 60


def test_only_an_unknown_kind_is_an_unknown_plugin() -> None:
    folder = Path(__file__).parent / "wrong"
    with pytest.raises(UnknownPluginError):
        load_study(folder / "unknown_engine.yaml", NamedKinds())
    with pytest.raises(SpecError) as caught:
        load_study(folder / "unknown_benchmark_among_other_faults.yaml", NamedKinds())
    assert not isinstance(caught.value, UnknownPluginError)


def fault_of(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_study(path, NamedKinds())
    return str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "no.yaml") == f"{tmp_path}/no.yaml: no such file"


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    assert fault_of(tmp_path) == f"{tmp_path}: is a folder"


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert fault_of(tmp_path / "pipe") == f"{tmp_path}/pipe: is no regular file"


def test_a_path_below_a_file_says_why_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert fault_of(tmp_path / "file" / "study.yaml").endswith("study.yaml: cannot be read: Not a directory")


def test_a_file_in_another_encoding_shows_its_first_bad_byte(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"name: a\ndescription: gr\xfc\xdfe\n")
    assert fault_of(tmp_path / "s.yaml") == f"{tmp_path}/s.yaml:2:16: not UTF-8: byte 0xfc; save the file as UTF-8"


def test_nul_in_a_file_is_shown_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"name: a\0b\n")
    assert fault_of(tmp_path / "s.yaml") == f"{tmp_path}/s.yaml:1:8: character U+0000 is not allowed in a text file"


@pytest.mark.parametrize("filler", [b"# x\n", "ä\n".encode()])
def test_a_file_above_the_limit_is_not_parsed(tmp_path: Path, filler: bytes) -> None:
    (tmp_path / "s.yaml").write_bytes(filler * 400_000)
    assert fault_of(tmp_path / "s.yaml") == f"{tmp_path}/s.yaml: too large: a study file has at most 1000000 bytes"


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "a: [", "((("])
def test_twenty_thousand_levels_end_in_a_fault(opening: str) -> None:
    with pytest.raises(SpecError):
        parse_study("name: " + opening * 20_000, "study.yaml", NamedKinds())


def test_a_study_of_a_thousand_wrong_keys_shows_a_hundred() -> None:
    with pytest.raises(SpecError) as caught:
        parse_study("".join(f"wrong{number}: 1\n" for number in range(1000)), "study.yaml", NamedKinds())
    assert len(caught.value.faults) == 100
