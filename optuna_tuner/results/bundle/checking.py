"""Summarises what somebody hands over: a file of requests, or a bundle whose parts must belong together."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from optuna_tuner.errors import BundleError
from optuna_tuner.results.bundle.lines import Reader
from optuna_tuner.results.bundle.run import FORMAT, Part, Run
from optuna_tuner.results.bundle.summary import Summary
from optuna_tuner.results.bundle.summing import summary_of
from optuna_tuner.results.bundle.writing import REQUESTS, RUN

LARGEST_RUN = 64 * 1024 * 1024  # bytes


def summarise(path: Path) -> Summary:
    """The figures of a file of requests, or of a bundle's. Writes nothing.

    Raises BundleError for what cannot be read, and for a bundle whose requests are not those that it was made with.
    """
    try:
        return _of_bundle(path) if path.is_dir() else _of_file(path)
    except OSError as error:
        raise BundleError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _of_file(file: Path) -> Summary:
    with file.open("rb") as stream:
        return summary_of(Reader(stream, str(file)))


def _of_bundle(folder: Path) -> Summary:
    run, file, digest = read_run(folder / RUN), folder / REQUESTS, hashlib.sha256()
    with file.open("rb") as stream:
        size, expected = file.stat().st_size, run.files.get(REQUESTS, Part(bytes=0, sha256=""))
        if size != expected.bytes:
            raise BundleError(f"{file} has {size} bytes, and {RUN} says {expected.bytes}: it is cut off or another's")
        found = summary_of(Reader(stream, str(file), digest.update))
    if digest.hexdigest() != expected.sha256:
        raise BundleError(f"{file} is not the file that {RUN} was written with: its SHA-256 is another")
    return found


def read_run(file: Path) -> Run:
    """A bundle's `run.json`. Raises BundleError, which names the field that is wrong."""
    if not file.is_file():
        raise BundleError(f"{file} is not there: this folder is no bundle of a trial")
    if file.stat().st_size > LARGEST_RUN:
        raise BundleError(f"{file} has more than {LARGEST_RUN} bytes: it is no {RUN}")
    try:
        found = Run.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{file}: {place + ': ' if place else ''}{first['msg']}") from error
    if found.bundle != FORMAT:
        raise BundleError(f"{file}: bundle: format {found.bundle} is not known here, only {FORMAT}")
    return found
