"""A load client that is a program of its own, and where it runs if not beside the worker. No code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from optuna_tuner.clock import Deadline

STDOUT, STDERR = "stdout.txt", "stderr.txt"  # what the program says, in its folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Vantage:
    """What a load client calls the server that it loads, and its own folder, where it runs."""

    url: str
    folder: str
    elsewhere: bool = False  # on another machine than the worker's


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A load client that is a program of its own. `files` lie in its folder before it starts, by name."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class LoadClient(Protocol):
    """A program that runs, or has run. All that it wrote until its end lies in `folder` once its end is told."""

    @property
    def folder(self) -> Path:
        """Its folder, as it is here."""

    @property
    def started_at(self) -> float:
        """What it writes is younger, by the clock of the folder's file system."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs. Raises BenchmarkError when that cannot be known any more."""

    @property
    def epoch_s(self) -> float:
        """Added to the monotonic clock of its machine this is the time since 1970."""

    @property
    def waited_s(self) -> float:
        """How long it took until it could run: for a machine, and for its image."""


class ClientSite(ABC):
    """Where load clients of one server run, if not on the worker's machine."""

    @property
    @abstractmethod
    def vantage(self) -> Vantage:
        """What they call the server, and their folder. May raise DeployerError."""

    @abstractmethod
    def started(self, program: Program, folder: Path, deadline: Deadline) -> AbstractContextManager[LoadClient]:
        """A program that runs, and is ended with the context; what it writes comes into `folder`, which has its name.

        Raises BenchmarkError where it does not begin to run, StoppedError when the deadline's flag is set.
        """
