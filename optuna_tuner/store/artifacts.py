"""Files that are kept with a trial: a folder for each study, and in it one for each attempt."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.store.codec import encode
from optuna_tuner.store.ids import checked_id

LAUNCH_FILE = "launch.json"  # in an attempt's folder: what was sent to the deployer
MACHINE_FILE = "machine.json"  # where its worker ran
LEVELS_FILE = "levels.jsonl"  # each load level as soon as it was measured
LOOKS_FILE = "looks.jsonl"  # what was seen of the server meanwhile


class Artifacts:
    """The folders of this host. Their names are ids that we made; nothing that a user wrote is part of a path."""

    def study_folder(self, study_id: str) -> Path:
        """The study's folder; made when it is not there. Raises NotFoundError for what is no id."""
        return _made(home.artifacts_folder() / checked_id(study_id))

    def attempt_folder(self, study_id: str, attempt_id: str) -> Path:
        """The attempt's folder; made when it is not there. Raises NotFoundError for what is no id."""
        return _made(self.study_folder(study_id) / checked_id(attempt_id))


def write_text(file: Path, text: str) -> None:
    """Write the whole file or leave the old one: a reader, or a power cut, never sees half of it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def write_json(file: Path, value: object) -> None:
    """Write a value of ours, or plain JSON data, as `write_text` does. Raises StoreError for NaN."""
    write_text(file, encode(value) + "\n")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
