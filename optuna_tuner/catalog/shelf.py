"""Where catalogues lie: those of the package, and those that a user has made for a version or a fork of his own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from packaging.version import InvalidVersion, Version

from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.catalog.text import from_text
from optuna_tuner.errors import CatalogError, NotFoundError
from optuna_tuner.home import catalogues_folder

SUFFIX = ".json"
_VERSION_TAG = re.compile(r":v?(\d+\.\d+\.\d+(?:\.post\d+)?)\b")


def engines() -> tuple[str, ...]:
    """The engines that have at least one catalogue, sorted."""
    return tuple(sorted({entry.name for folder in _shelves() for entry in _entries(folder) if entry.is_dir()}))


def versions(engine: str) -> tuple[str, ...]:
    """The versions of an engine that have a catalogue, oldest first."""
    return tuple(sorted(_texts(engine), key=order))


def load(engine: str, version: str) -> Catalogue:
    """The catalogue of exactly this version. Raises NotFoundError, which says how to make it."""
    found = find(engine, version)
    if found is not None:
        return found
    known = versions(engine)
    if not known:
        raise NotFoundError(f'no catalogue of an engine "{engine}"; there are {", ".join(engines())}')
    near = ", ".join(get_close_matches(version, known, n=3)) or known[-1]
    raise NotFoundError(
        f"no catalogue of {engine} {version}; the nearest are {near}; "
        f"make it by: optuna-tuner catalog refresh {engine}=={version}"
    )


def find(engine: str, version: str) -> Catalogue | None:
    """The catalogue of exactly this version; None where there is none. A leading v and a wheel's build do not count."""
    return _load(engine, plain_version(version))


def nearest(engine: str, version: str | None) -> Catalogue:
    """The catalogue of this version; for None, and where there is none, that of the newest one that is known.

    Raises NotFoundError where no version of the engine is known.
    """
    return (find(engine, version) if version else None) or load(engine, (versions(engine) or ("",))[-1])


@cache
def newest_shipped(engine: str) -> Catalogue | None:
    """The newest that comes with the package, whatever the user has made; None where it has none of the engine."""
    folder = files("optuna_tuner.catalog") / "data" / engine
    known = {entry.name.removesuffix(SUFFIX): entry for entry in _entries(folder) if entry.name.endswith(SUFFIX)}
    return from_text(known[max(known, key=order)].read_text(encoding="utf-8")) if known else None


def texts(engine: str) -> Iterator[tuple[str, str]]:
    """Each version with its catalogue as it is stored, oldest first: to look for a single word in all of them."""
    for version, entry in sorted(_texts(engine).items(), key=lambda item: order(item[0])):
        yield version, entry.read_text(encoding="utf-8")


def forget() -> None:
    """Read catalogues anew; a new one was written."""
    _load.cache_clear()


def plain_version(version: str) -> str:
    """Without what does not change the flags: a leading v, the build of a wheel."""
    return version.strip().removeprefix("v").partition("+")[0]


def tagged_version(image: str) -> str | None:
    """The engine's version as the tag of an image names it; None where it names none."""
    tag = _VERSION_TAG.search(image)
    return tag[1] if tag else None


def order(version: str) -> tuple[Version, str]:
    """To sort versions by; those of forks with names of their own come first."""
    try:
        return Version(version), version
    except InvalidVersion:
        return Version("0"), version


@lru_cache(maxsize=128)
def _load(engine: str, version: str) -> Catalogue | None:
    entry = _texts(engine).get(version)
    if entry is None:
        return None
    try:
        return from_text(entry.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CatalogError(f"{entry} cannot be read: {error}") from error


def _texts(engine: str) -> dict[str, Traversable]:
    """Version -> file; the user's own go before those of the package."""
    return {
        entry.name.removesuffix(SUFFIX): entry
        for folder in _shelves()
        for entry in _entries(folder / engine)
        if entry.name.endswith(SUFFIX)
    }


def _shelves() -> tuple[Traversable, ...]:
    return files("optuna_tuner.catalog") / "data", catalogues_folder()


def _entries(folder: Traversable) -> Iterator[Traversable]:
    return iter(folder.iterdir() if folder.is_dir() else ())
