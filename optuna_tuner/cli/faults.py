"""Errors at one place: what the user is told, and the exit code."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING

import click

from optuna_tuner.errors import EnvironmentFaultError, SpecError, TunerError

if TYPE_CHECKING:
    from pathlib import Path


class Exit(IntEnum):
    """What the process returns."""

    DONE = 0
    NOTHING_FEASIBLE = 1  # it ran, but nothing feasible was found, the run failed, or a gate cannot tell
    USAGE = 2  # the command line, a file or a name is wrong
    NOT_MET = 3  # a gate's winner regressed, a rerun does not agree; as DeclaredDeadError: a worker was taken for dead
    ENVIRONMENT = 4  # the database or the machine lacks something
    INTERRUPTED = 130


# What the system says when a folder or a disk of the user refuses: no bug, and no traceback would help.
REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


@contextmanager
def exit_codes(ctx: click.Context) -> Iterator[None]:
    """Turn what a command raises into a message on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except TunerError as error:
        _explain(error)
        ctx.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        ctx.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader has seen enough, as in `optuna-tuner trials STUDY | head`. Python would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(Exit.DONE)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _explain(EnvironmentFaultError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror))
        ctx.exit(Exit.ENVIRONMENT)


def _explain(error: TunerError) -> None:
    if isinstance(error, SpecError):
        for fault in error.faults:
            click.echo(str(fault), err=True)
    else:
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {error}", err=True)


def report_bugs() -> None:
    """From now on, an error that nobody foresaw is written to a file; the user is told where it lies."""
    sys.excepthook = _report
    threading.excepthook = _report_thread


def describe_bug(error: BaseException) -> tuple[str, Path]:
    """What the user is told of an error that nobody foresaw, and the file that holds its traceback."""
    import tempfile  # noqa: PLC0415  only needed when things went wrong
    import traceback  # noqa: PLC0415  likewise
    from pathlib import Path  # noqa: PLC0415  likewise

    from optuna_tuner import __version__  # noqa: PLC0415  likewise

    with tempfile.NamedTemporaryFile("w", prefix="optuna-tuner-bug-", suffix=".log", delete=False) as file:
        # The arguments are left out: a storage URL may hold a password.
        file.write(f"optuna-tuner {__version__}, Python {sys.version}\n\n")
        file.writelines(traceback.format_exception(error))
    name = type(error).__name__
    return f"This is a bug in optuna-tuner: {name}: {error}\nWhat happened is in {file.name}", Path(file.name)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:  # noqa: ARG001  Python's signature
    if issubclass(kind, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        os._exit(Exit.INTERRUPTED)
    click.echo(describe_bug(error)[0], err=True)


def _report_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        click.echo(describe_bug(args.exc_value)[0], err=True)
