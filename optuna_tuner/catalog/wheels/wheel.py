"""A released wheel, read without installing it: only the members that are asked for are downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast
from zipfile import BadZipFile, ZipFile

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from optuna_tuner.catalog.wheels.package_index import find_wheel, http_client, versions
from optuna_tuner.catalog.wheels.remote_file import RemoteFile
from optuna_tuner.errors import CatalogError

__all__ = ["Wheel", "local_wheel", "open_wheel", "versions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that is open for reading. `source` is its file name and SHA-256, where that is known."""

    project: str
    version: str
    source: Mapping[str, str]
    archive: ZipFile = field(repr=False)

    def names(self) -> tuple[str, ...]:
        """The paths of all members."""
        return tuple(self.archive.namelist())

    def text(self, name: str) -> str:
        """One member, as UTF-8. Raises KeyError where there is none of that path, and CatalogError."""
        try:
            return self.archive.read(name).decode("utf-8")
        except (BadZipFile, UnicodeDecodeError, OSError) as error:
            raise CatalogError(f"{name} of {self.source['wheel']} cannot be read: {error}") from error


@contextmanager
def open_wheel(project: str, version: str) -> Iterator[Wheel]:
    """The wheel of the package index for Linux on x86_64. Raises CatalogError.

    The index is that of PIP_INDEX_URL, else PyPI. The SHA-256 is the index's word: of a wheel that is read in parts it
    cannot be computed.
    """
    with http_client() as client:
        link = find_wheel(client, project, version)
        stated = {"sha256": link.sha256} if link.sha256 else {}
        remote = cast("IO[bytes]", RemoteFile(client, link.url))
        with _archive(remote, link.name) as archive:
            yield Wheel(project=project, version=version, source={"wheel": link.name} | stated, archive=archive)


@contextmanager
def local_wheel(path: Path) -> Iterator[Wheel]:
    """A wheel on this machine; its project and version are those of its file name. Raises CatalogError."""
    try:
        project, version, *_ = parse_wheel_filename(path.name)
        stream = path.open("rb")
    except InvalidWheelFilename as error:
        raise CatalogError(f"{path} is not named as wheels are: PROJECT-VERSION-PYTHON-ABI-PLATFORM.whl") from error
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror}") from error
    with stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        with _archive(stream, path.name) as archive:
            source = {"wheel": path.name, "sha256": sha256}
            yield Wheel(project=project, version=str(version), source=source, archive=archive)


@contextmanager
def _archive(stream: IO[bytes], name: str) -> Iterator[ZipFile]:
    try:
        archive = ZipFile(stream)
    except BadZipFile as error:
        raise CatalogError(f"{name} is no wheel: {error}") from error
    with archive:
        yield archive
