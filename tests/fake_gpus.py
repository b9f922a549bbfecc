"""A host with fake GPUs: files of a folder, see `optuna_tuner.testing.fake_nvml.pynvml`."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from optuna_tuner.testing.fake_nvml import pynvml

FOLDER = str(Path(str(pynvml.__file__)).parent)  # for PYTHONPATH


class Host:
    """So many GPUs, free and healthy, of so much memory each; 80 GiB where none is given."""

    def __init__(self, folder: Path, count: int, mib: int | None = None) -> None:
        self.folder = folder
        self.uuids = tuple(f"GPU-fake-{number}" for number in range(count))
        folder.mkdir()
        for uuid in self.uuids:
            (folder / uuid).write_text("" if mib is None else str(mib), encoding="ascii")

    @property
    def env(self) -> Mapping[str, str]:
        """What a process needs to see them."""
        return {pynvml.VARIABLE: str(self.folder), "PYTHONPATH": FOLDER}

    def ill(self, uuid: str, illness: str) -> Path:
        """Make one ill; unlink the file to heal it."""
        file = self.folder / f"{uuid}.{illness}"
        file.touch()
        return file

    @contextmanager
    def used(self, uuid: str) -> Iterator[None]:
        """This process uses it."""
        descriptor = os.open(self.folder / uuid, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)


def host(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 2, mib: int | None = None) -> Host:
    """Give this process so many GPUs, and its children too."""
    found = Host(folder, count, mib)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found
