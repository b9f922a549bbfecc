"""Makes a bundle's folder: beside its place under another name, and renamed when it is complete."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic_core import to_json

from optuna_tuner.errors import BundleError
from optuna_tuner.request_log import PATTERN
from optuna_tuner.results.bundle import run
from optuna_tuner.results.bundle.describing import Source, described, known_of
from optuna_tuner.results.bundle.lines import Reader
from optuna_tuner.results.bundle.summary import Summary
from optuna_tuner.results.bundle.summing import summary_of
from optuna_tuner.results.tables import study_document
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView

RUN, REQUESTS, SUMMARY, STUDY, RAW = "run.json", "requests.jsonl", "summary.json", "study.json", "raw"


@dataclass(slots=True)
class _Merged:
    """The files of requests that are now in one, and what is not."""

    whole: set[Path] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    services: set[str] = field(default_factory=set)  # one at most

    def demand_same_service(self, summary: Summary, name: str) -> None:
        """Raise BundleError for requests of another service than those before: figures of both would be nobody's."""
        own = {summary.service_type} if summary.total_requests else set()
        if len(self.services | own) > 1:
            raise BundleError(f'{name}: service_type: "{summary.service_type}" is not that of the files before')
        self.services |= own


def write_trial(source: Source, folder: Path) -> run.Run:
    """The bundle of one trial. Raises BundleError where the folder is there already; then nothing was written."""
    with new_folder(folder) as draft:
        return _fill(source, draft)


def write_study(study: StudyView, sources: Sequence[Source], folder: Path) -> tuple[run.Run, ...]:
    """One bundle a trial, `trial-0` and so on, and the study's results as `study.json`. Raises BundleError as above."""
    with new_folder(folder) as draft:
        document = to_json(study_document(study), indent=1, inf_nan_mode="null")
        (draft / STUDY).write_bytes(document + b"\n")
        return tuple(_fill(source, _made(draft / f"trial-{source.trial.number}")) for source in sources)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that is there when it is complete, or not at all. Whatever lies in its place stays as it is."""
    if folder.exists() or folder.is_symlink():
        raise BundleError(f"{folder} is there already; a bundle overwrites nothing: give another name")
    try:
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise BundleError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        yield draft
        draft.chmod(0o755)
        draft.rename(folder)  # fails where a file, or a folder that is not empty, has come meanwhile
    except OSError as error:
        raise BundleError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # what was renamed is not there any more


def _fill(source: Source, draft: Path) -> run.Run:
    with (draft / REQUESTS).open("wb") as stream:
        merged = _merge(source.folder, stream)
    _copy_reports(source.folder, draft, merged.whole)
    summary = _summary(draft / REQUESTS, source.trial, merged.missing)
    (draft / SUMMARY).write_text(summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
    known = known_of(source)
    files = {path.relative_to(draft).as_posix(): _part(path) for path in sorted(draft.rglob("*")) if path.is_file()}
    made = described(source, known, files, summary.missing)
    (draft / RUN).write_text(made.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return made


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _request_files(folder: Path) -> list[Path]:
    """In the order of their making. No links: what a client writes may point anywhere."""
    found = [path for path in (folder / "benchmark").rglob(PATTERN) if path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _merge(folder: Path, merged: BinaryIO) -> _Merged:
    """All requests of a trial into one file, as they stand."""
    found = _Merged()
    files = _request_files(folder)
    if not files:
        found.missing.append("requests: the load client kept none, or they lie on another machine")
    for file in files:
        before, name = merged.tell(), file.relative_to(folder).as_posix()
        try:
            with file.open("rb") as stream:
                reader = Reader(stream, name, merged.write)
                found.demand_same_service(summary_of(reader), name)
        except BundleError as error:
            merged.seek(before)
            merged.truncate()
            found.missing.append(f"requests: {error}; that file is left out, and lies in {RAW}")
            continue
        found.whole.add(file)
        if reader.truncated:
            found.missing.append(f"requests: {name}:{reader.before + 1}: the last line is cut off, and left out")
    return found


def _copy_reports(folder: Path, draft: Path, but: Container[Path]) -> None:
    """Every other file of the trial's folder, and no link."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path not in but:
            copy = draft / RAW / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy, follow_symlinks=False)


def _summary(requests: Path, trial: TrialView, missing: Sequence[str]) -> Summary:
    with requests.open("rb") as stream:
        found = summary_of(Reader(stream, REQUESTS))
    return found.model_copy(update={"missing": (*found.missing, *missing, *_lost(found, trial))})


def _lost(summary: Summary, trial: TrialView) -> Iterator[str]:
    """Levels of which not all requests lie here, by the counts that the benchmark reported."""
    here, told = Counter[str](), Counter[str]()
    for level in summary.levels:
        here[level.level] += level.total_requests
    for each in trial.measurements:
        counts = (each.metrics.get(name, 0.0) for name in ("completed_requests", "failed_requests"))
        told[str(each.load)] += int(sum(counts))
    for name, count in told.items():
        if here and here[name] < count:
            yield f"requests of {name}: {here[name]} of {count} lie here"


def _part(file: Path) -> run.Part:
    with file.open("rb") as stream:
        return run.Part(bytes=file.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())
