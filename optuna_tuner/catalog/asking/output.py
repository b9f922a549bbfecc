"""What a command prints, within bounds: of time, of length, and of what it learns about its surroundings."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import CatalogError

LONGEST = 4 << 20  # bytes of each stream; the longest help text known has 160 thousand
LONGEST_TAIL = 300  # characters of a complaint
HANDED_ON = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "DOCKER_HOST",
        "HOME",
        "LANG",
        "LC_ALL",
        "LD_LIBRARY_PATH",
        "PATH",
        "TMPDIR",
        "VIRTUAL_ENV",
    }
)
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}  # a help text as it stands, without colours


def output_of(argv: Sequence[str], deadline: Deadline) -> str:
    """Everything that the command prints until it ends. It sees no variable but those that programs cannot do without.

    Raises CatalogError when it cannot be started, does not end in time, prints too much, or ends with an error.
    """
    with TemporaryDirectory(prefix="optuna-tuner-") as folder:
        said, complained = Path(folder, "out"), Path(folder, "err")
        with said.open("wb") as out, complained.open("wb") as err:
            process = _started(argv, out.fileno(), err.fileno())
            _wait(process, argv, (said, complained), deadline)
        text, complaint = (each.read_text(encoding="utf-8", errors="replace") for each in (said, complained))
    if process.returncode:
        tail = " ".join((complaint.strip() or text.strip())[-LONGEST_TAIL:].split())
        raise CatalogError(f"{shlex.join(argv)} ended with exit code {process.returncode}: {tail}")
    return text if text.strip() else complaint


def _started(argv: Sequence[str], out: int, err: int) -> subprocess.Popen[bytes]:
    seen = {name: value for name, value in os.environ.items() if name in HANDED_ON} | PLAIN
    try:
        return subprocess.Popen(  # noqa: S603  an argv list that the user gave, no shell
            list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=seen, start_new_session=True
        )
    except OSError as error:
        raise CatalogError(
            f"{argv[0]} cannot be started: {error.strerror}; is it installed, and on the PATH?"
        ) from error


def _wait(process: subprocess.Popen[bytes], argv: Sequence[str], files: Sequence[Path], deadline: Deadline) -> None:
    """Until it ends, or has to be ended."""

    def look() -> str | None:
        if process.poll() is not None:
            return ""
        return "prints too much" if any(each.stat().st_size > LONGEST for each in files) else None

    fault: str | None = "was asked to stop"
    try:
        fault = poll(look, deadline)
    finally:
        if fault != "":
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if fault != "":
        raise CatalogError(f"{shlex.join(argv)} {fault or 'does not end in time'}; it was ended")
    if any(each.stat().st_size > LONGEST for each in files):
        raise CatalogError(f"{shlex.join(argv)} prints too much to be a help text")
