"""Makes the catalogue of one engine version from its released wheel, and writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import mkstemp
from typing import cast

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Flag
from optuna_tuner.catalog.notes import annotated
from optuna_tuner.catalog.text import to_text
from optuna_tuner.catalog.wheels.wheel import Wheel, local_wheel, open_wheel
from optuna_tuner.errors import CatalogError
from optuna_tuner.home import catalogues_folder

Scanner = Callable[[Wheel], tuple[Flag, ...]]
SCANNERS: Mapping[str, str] = {  # engine, which is also the name of its package -> the module that reads its wheel
    "sglang": "optuna_tuner.catalog.scan.sglang_source",
    "vllm": "optuna_tuner.catalog.scan.vllm_source",
}


def refresh(engine: str, version: str, folder: Path | None = None) -> Path:
    """Reads the wheel of the package index and writes the catalogue; where it lies. Raises CatalogError.

    `folder` holds a folder for each engine; without one, the catalogue is written to the user's own.
    """
    with open_wheel(engine, shelf.plain_version(version)) as wheel:
        return write(from_wheel(engine, wheel), folder)


def refresh_from(engine: str, path: Path, folder: Path | None = None) -> Path:
    """As `refresh`, from a wheel on this machine: a build of one's own. Raises CatalogError."""
    with local_wheel(path) as wheel:
        return write(from_wheel(engine, wheel), folder)


def from_wheel(engine: str, wheel: Wheel) -> Catalogue:
    """What a wheel says about its flags, and what is known of them beside it. Raises CatalogError."""
    if engine not in SCANNERS:
        raise CatalogError(f'wheels of "{engine}" cannot be read; those of {", ".join(SCANNERS)} can')
    scan = cast("Scanner", import_module(SCANNERS[engine]).flags)  # one engine's reader is not loaded for the other
    version = shelf.plain_version(wheel.version)
    return annotated(Catalogue(engine=engine, version=version, source=wheel.source, flags=scan(wheel)))


def write(catalogue: Catalogue, folder: Path | None = None) -> Path:
    """Writes a catalogue whole or not at all; where it lies."""
    file = (folder or catalogues_folder()) / catalogue.engine / f"{catalogue.version}{shelf.SUFFIX}"
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = mkstemp(dir=file.parent, suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8") as stream:  # noqa: PTH123  it is open already
            stream.write(to_text(catalogue))
        Path(draft).chmod(0o644)
        Path(draft).replace(file)
    finally:
        Path(draft).unlink(missing_ok=True)
    shelf.forget()
    return file
