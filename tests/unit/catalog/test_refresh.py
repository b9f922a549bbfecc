from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from optuna_tuner.catalog import refresh, shelf
from optuna_tuner.catalog.catalogue import Catalogue, Flag, FlagType
from optuna_tuner.errors import CatalogError

FLAG = Flag(name="beads", spellings=("--beads",), type=FlagType.INT, default=10)
ABACUS = Catalogue(engine="abacus", version="1.0", source={"wheel": "abacus-1.0-py3-none-any.whl"}, flags=(FLAG,))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    shelf.forget()
    return tmp_path


def test_what_is_written_is_found_at_once_and_nothing_else_lies_there(home: Path) -> None:
    assert shelf.find("abacus", "1.0") is None
    file = refresh.write(ABACUS)
    assert file == home / "catalogues" / "abacus" / "1.0.json"
    assert list(file.parent.iterdir()) == [file]
    assert shelf.load("abacus", "1.0") == ABACUS


def test_a_catalogue_goes_where_it_is_asked_for(tmp_path: Path) -> None:
    assert refresh.write(ABACUS, tmp_path / "other") == tmp_path / "other" / "abacus" / "1.0.json"


def test_an_engine_whose_wheels_are_not_understood_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "abacus-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("abacus/__init__.py", "")
    with pytest.raises(CatalogError, match='"abacus" cannot be read; those of sglang, vllm can'):
        refresh.refresh_from("abacus", path)


def test_nothing_is_written_when_a_wheel_is_not_understood(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "vllm-9.9-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("vllm/__init__.py", "")
    with pytest.raises(CatalogError):
        refresh.refresh_from("vllm", path)
    assert not (home / "catalogues").exists()
