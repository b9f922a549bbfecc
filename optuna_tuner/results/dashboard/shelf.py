"""The files of trials, as the dashboard lists them."""

from __future__ import annotations

import json
import mimetypes
import os
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore

from optuna_tuner.store.artifacts import LAUNCH_FILE
from optuna_tuner.values import Json

SHELF_FOLDER = "dashboard"
MOST_FILES = 40  # of one trial
# Anything else is offered for download only: the dashboard shows a file by its type.
TYPES: Mapping[str, str] = {
    ".log": "text/plain",
    ".txt": "text/plain",
    ".json": "application/json",
    ".jsonl": "text/plain",
    ".csv": "text/csv",
    ".yaml": "text/plain",
    ".png": "image/png",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One file of a trial. `id` is the same whenever it is looked for."""

    id: str
    name: str
    path: Path

    def meta(self) -> str:
        """What Optuna keeps of an artifact."""
        mimetype = TYPES.get(Path(self.name).suffix, "application/octet-stream")
        _, encoding = mimetypes.guess_type(self.name)
        return json.dumps({"artifact_id": self.id, "filename": self.name, "mimetype": mimetype, "encoding": encoding})


class Shelf:
    """A folder of links to trials' files, each under the id by which the dashboard asks for it.

    Links, not copies: reports can be large. The trial's own folder stays the place where people look.
    """

    def __init__(self, root: Path, folder_of: Callable[[str, str], Path]) -> None:
        """`folder_of` knows the folder of files by the ids of study and attempt."""
        self._folder_of = folder_of
        self._folder = root / SHELF_FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self.artifacts = FileSystemArtifactStore(self._folder)

    def exhibits(self, study_id: str, attempt_id: str) -> list[Exhibit]:
        """The files of a trial that are on this machine, launch and log first; each one is put on the shelf."""
        folder, found = self._folder_of(study_id, attempt_id), []
        for path in _files(folder)[:MOST_FILES]:
            name = path.relative_to(folder).as_posix()
            exhibit = Exhibit(id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{attempt_id}/{name}")), name=name, path=path)
            self._put(exhibit)
            found.append(exhibit)
        return found

    def lay(self, study_id: str, name: str, content: bytes) -> Exhibit:
        """Put a file of the study itself on the shelf, in the place of an earlier one of this name."""
        exhibit_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{study_id}/{name}"))
        exhibit = Exhibit(id=exhibit_id, name=name, path=self._folder / exhibit_id)
        draft = self._folder / f".{exhibit_id}-{os.getpid()}"
        draft.write_bytes(content)
        draft.replace(exhibit.path)
        return exhibit

    def command(self, study_id: str, attempt_id: str) -> str:
        """The command that started a trial's server, ready for a shell; empty where it was not kept."""
        with suppress(OSError, ValueError):
            launch: Json = json.loads((self._folder_of(study_id, attempt_id) / LAUNCH_FILE).read_text())
            body = launch.get("body") if isinstance(launch, dict) else None
            argv = body.get("argv") if isinstance(body, dict) else None
            if isinstance(argv, list):
                return shlex.join(str(word) for word in argv)
        return ""

    def _put(self, exhibit: Exhibit) -> None:
        target = self._folder / exhibit.id
        if target.exists():
            return
        try:
            target.hardlink_to(exhibit.path)
        except FileExistsError:  # another process has put it there in this moment
            return
        except OSError:  # another file system, or one without links
            shutil.copyfile(exhibit.path, target)


def _files(folder: Path) -> list[Path]:
    """Known kinds of files, no links: a link in a folder that a server writes to may point anywhere."""
    files = [path for path in _walk(folder) if path.suffix in TYPES]
    return sorted(files, key=lambda path: (len(path.parts), path.suffix == ".png", path))


def _walk(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder, followlinks=False):
        for path in (Path(root) / name for name in names):
            if path.is_file() and not path.is_symlink():
                yield path
