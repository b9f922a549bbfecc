"""Database URLs as users write them: which database, where, and what of it may be shown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from optuna_tuner.errors import StoreError

_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_SECRET_WORDS = ("pass", "secret", "token", "key")
_NETWORK_FILE_SYSTEMS = re.compile(
    r"(fuse\.)?(afs|beegfs|ceph|cifs|glusterfs|gpfs|juicefs|lustre|ncpfs|nfs\d?|orangefs|pvfs2|s3fs|smb\d|smbfs|sshfs|wekafs)"
)
_EXAMPLES = "sqlite:///studies.db, postgresql://user:password@host/database, mysql://user:password@host/database"


def parse(text: str) -> URL:
    """The URL with its driver chosen and a SQLite path made absolute. Raises StoreError; never repeats a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        hint = f'; did you mean "sqlite:///{text}"' if "://" not in text and "@" not in text else ""
        raise StoreError(f"this is no database URL{hint}; examples: {_EXAMPLES}") from None
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS:
        raise StoreError(f'unknown kind of database "{backend}"; examples: {_EXAMPLES}')
    if backend == "sqlite":
        return url.set(drivername="sqlite", database=str(_file(url)))
    return url if driver else url.set(drivername=_DRIVERS[backend])


def _file(url: URL) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise StoreError("a SQLite database must be a file that outlives this process, such as sqlite:///studies.db")
    return Path(url.database).expanduser().resolve()


def masked(url: URL) -> str:
    """The URL as it may be shown: no password, also none hidden in the query."""
    shown = {name: "***" if _secret(name) else value for name, value in url.query.items()}
    return url.set(query=shown).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def secrets_of(url: URL) -> tuple[str, ...]:
    """Each text in the URL that must never be shown, raw and as it is quoted in a URL; the longest first."""
    raw = [url.password or "", *(str(value) for name, value in url.query.items() if _secret(name))]
    quoted = [quote(item, safe=" +") for item in raw]
    return tuple(sorted({item for item in (*raw, *quoted) if item}, key=len, reverse=True))


def _secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)


def literal(url: URL) -> str:
    """The URL for somebody who runs `str.format` on it, as Optuna's RDBStorage does: braces doubled."""
    return url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


def refuse_network_file_system(file: Path) -> None:
    """Raise StoreError when the file is on a network file system: SQLite's locks are not safe there."""
    kind = file_system_of(file)
    if _NETWORK_FILE_SYSTEMS.fullmatch(kind):
        raise StoreError(
            f"{file} is on a network file system ({kind}), where SQLite loses data: "
            "use a local folder, or PostgreSQL, MySQL or MariaDB for several hosts"
        )


def file_system_of(file: Path) -> str:
    """The type of the file system that holds the file, as the mount table calls it; "" when unknown."""
    from psutil import disk_partitions  # noqa: PLC0415  only needed for SQLite, and once

    # The mount that was made last covers the older ones at the same place.
    mounts = {Path(mount.mountpoint): mount.fstype for mount in disk_partitions(all=True)}
    return next((mounts[folder] for folder in (file, *file.parents) if folder in mounts), "").lower()
