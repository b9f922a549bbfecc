from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.errors import StoreError
from optuna_tuner.store import urls
from optuna_tuner.store.database import Database
from optuna_tuner.store.store import Store


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://h/d", "postgresql+psycopg"),
        ("postgres://h/d", "postgresql+psycopg"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg"),
        ("mysql://h/d", "mysql+pymysql"),
        ("mariadb://h/d", "mysql+pymysql"),
        ("sqlite:////tmp/x.db", "sqlite"),
    ],
)
def test_the_driver_is_chosen_unless_the_user_chose_one(given: str, driver: str) -> None:
    assert urls.parse(given).drivername == driver


def test_a_relative_sqlite_path_is_fixed_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert urls.parse("sqlite:///a.db").database == str(tmp_path / "a.db")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("studies.db", 'did you mean "sqlite:///studies.db"'),
        ("", "no database URL"),
        ("oracle://scott:tiger@h/d", 'unknown kind of database "oracle"'),
        ("postgresql://u:tiger@h:port/d", "no database URL"),
        ("sqlite://", "outlives this process"),
        ("sqlite:///:memory:", "outlives this process"),
        ("sqlite:///file:x?mode=memory&uri=true", "outlives this process"),
    ],
)
def test_a_url_that_cannot_be_used_is_said_without_its_password(given: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        Database(given)
    assert message in str(caught.value)
    assert "tiger" not in str(caught.value)


@pytest.mark.parametrize("given", ["postgresql://u:ti%2Fger@h/d", "postgresql://u@h/d?password=ti%2Fger"])
def test_no_password_is_shown(given: str) -> None:
    database = Database(given)
    assert "ger" not in database.masked_url
    assert "***" in database.masked_url
    said = database.reason(RuntimeError("no entry for ti/ger or ti%2Fger"))
    assert said == "no entry for *** or ***"


def test_braces_in_a_url_are_never_a_template() -> None:
    url = urls.parse("postgresql://u:p{SCHEMA_VERSION.__class__}@h/d?application_name={x}")
    assert urls.literal(url).format(SCHEMA_VERSION=12) == url.render_as_string(hide_password=False)


def test_a_sqlite_path_with_braces_and_percent_works(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/a{{SCHEMA_VERSION}} %41.db") as store:
        assert store.optuna_storage().get_all_studies() == []
    assert len(list(tmp_path.glob("*.db"))) == 1, "Optuna's tables and ours are in the same file"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "lustre", "ceph", "smb3"])
def test_a_network_file_system_is_refused_for_sqlite(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "file_system_of", lambda _file: kind)
    with pytest.raises(StoreError, match=f"network file system \\({kind}\\)"):
        Database("sqlite:////mnt/share/studies.db")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "btrfs", ""])
def test_a_local_file_system_is_accepted_for_sqlite(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "file_system_of", lambda _file: kind)
    Database("sqlite:////mnt/disk/studies.db")


def test_the_file_system_of_a_file_is_that_of_the_nearest_mount() -> None:
    assert urls.file_system_of(Path("/proc/self/no-such-file")) == "proc"
