from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.errors import NotFoundError, StoreError
from optuna_tuner.store.artifacts import Artifacts, write_json, write_text
from optuna_tuner.store.ids import checked_id, new_id
from optuna_tuner.values import Params


def test_each_attempt_has_a_folder_in_its_studys_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    study, attempt = new_id(), new_id()
    folder = Artifacts().attempt_folder(study, attempt)
    assert folder == tmp_path / "artifacts" / study / attempt
    assert folder.is_dir()


@pytest.mark.parametrize("bad", ["..", "", "/etc", "a" * 25, "A" * 26, "0123456789abcdefghjkmnpq/.", "i" * 26])
def test_what_is_no_id_is_never_part_of_a_path(bad: str) -> None:
    with pytest.raises(NotFoundError):
        Artifacts().study_folder(bad)


def test_ids_are_unique_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000
    made = []
    for second in (0, 1, 1_763_700_000, 1_763_700_001, 9_000_000_000):
        monkeypatch.setattr("time.time_ns", lambda second=second: second * 10**9)
        made.append(checked_id(new_id()))
    assert made == sorted(made)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, Params(flags={"x": 1}))
    with pytest.raises(StoreError):
        write_json(file, [float("nan")])
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "half \ud800")
    assert file.read_text() == '{"flags":{"x":1},"env":{}}\n'
    assert list(tmp_path.iterdir()) == [file]
