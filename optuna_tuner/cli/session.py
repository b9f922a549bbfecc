"""What every command is given: the front door, and where to write."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console

    from optuna_tuner.tuner import Tuner

# Nobody wraps a table that goes into a file or a pipe.
PIPE_WIDTH = 500


def _open(storage: str | None) -> Tuner:
    from optuna_tuner.store.retry import say_retries  # noqa: PLC0415  only who opens a database needs it
    from optuna_tuner.tuner import Tuner  # noqa: PLC0415  it brings Optuna and SQLAlchemy with it

    say_retries()
    return Tuner(storage)


@dataclass
class Session:
    """The global options, and what follows from them."""

    storage: str | None = None
    verbosity: int = 0  # -1 quiet, 0 normal, 1 information, 2 everything
    color: bool = field(default_factory=lambda: not os.environ.get("NO_COLOR"))
    open: Callable[[str | None], Tuner] = _open

    @cached_property
    def tuner(self) -> Tuner:
        """The front door on the chosen storage."""
        return self.open(self.storage)

    @property
    def out(self) -> Console:
        """Where data goes."""
        return self._console(stderr=False)

    @property
    def err(self) -> Console:
        """Where progress and notes go."""
        return self._console(stderr=True)

    @property
    def quiet(self) -> bool:
        """Whether only data and errors are wanted."""
        return self.verbosity < 0

    def note(self, text: str) -> None:
        """Say something that is not data."""
        if not self.quiet:
            click.echo(text, err=True)

    def log(self) -> None:
        """Let the package's log through to stderr, as far as -v asks for it."""
        if self.verbosity <= 0:
            return
        import logging  # noqa: PLC0415  only -v needs it

        level = logging.INFO if self.verbosity == 1 else logging.DEBUG
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("optuna_tuner").setLevel(level)

    def _console(self, *, stderr: bool) -> Console:
        from rich.console import Console  # noqa: PLC0415  --help and plain output do without it

        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() else PIPE_WIDTH
        system: Literal["auto"] | None = "auto" if self.color else None
        return Console(file=stream, color_system=system, highlight=False, markup=False, emoji=False, width=width)
