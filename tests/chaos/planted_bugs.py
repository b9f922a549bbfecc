"""`planted-bugs`: breaks one promise of the product after another, and sees that a test turns red each time.

A bug is planted into a copy of the package: a piece of text that must be there exactly once is replaced. Then the
tests that guard the promise run against the copy, in processes that can import no other one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from databases import PostgresqlServer
from planted_bug import Bug
from planted_list import BUGS

from optuna_tuner.clock import now

ROOT = Path(__file__).parents[2]
PACKAGE = "optuna_tuner"
TEST_S = 60
ALL_PASSED, SOME_FAILED = 0, 1  # exit codes of pytest; the others say that it could not run the tests
# The first line fails unless the copy is what is imported. `-P` and PYTHONSAFEPATH keep the working folder out.
_RUN = f"""
import sys, pathlib, pytest, {PACKAGE}
assert pathlib.Path({PACKAGE}.__file__).parents[1] == pathlib.Path(sys.argv[1]), {PACKAGE}.__file__
sys.exit(pytest.main(sys.argv[2:]))
"""


class MisfitError(Exception):
    """A planted bug no longer fits the product, or the tests named for it cannot be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of one bug: the test that saw it and in which words, or none."""

    bug: Bug
    red: str | None
    words: str
    seconds: float


def misfits(bug: Bug) -> list[str]:
    """Why a bug cannot be planted into the product as it is."""
    return [
        f"the planted bug {bug.name!r} no longer fits: {edit.old!r} is {times} times in {edit.file}"
        for edit in bug.edits
        if (times := (ROOT / PACKAGE / edit.file).read_text(encoding="utf-8").count(edit.old)) != 1
    ]


def missing_tests(bug: Bug) -> list[str]:
    """Tests that are named for a bug and are not there."""
    return [
        f"{bug.name!r} names {test}, which does not exist"
        for test in bug.tests
        if not _is_defined(*test.partition("[")[0].split("::"))
    ]


def _is_defined(file: str, name: str) -> bool:
    path = ROOT / file
    return path.exists() and f"\ndef {name}(" in path.read_text(encoding="utf-8")


class Nursery:
    """A folder in which bugs are planted, and what their tests need."""

    def __init__(self, folder: Path, postgresql: str) -> None:
        self._folder, self._postgresql = folder, postgresql

    def hunt(self, bug: Bug) -> Found:
        """Plant it and run its tests until one is red. Raises MisfitError."""
        if wrong := misfits(bug) + missing_tests(bug):
            raise MisfitError("; ".join(wrong))
        began = now()
        code, output = self._test(bug.edits_by_file(), bug.tests)
        red = re.search(r"^FAILED (\S+)(?: - (.*))?$", output, re.MULTILINE)
        if code not in {ALL_PASSED, SOME_FAILED} or (code == SOME_FAILED and red is None):
            raise MisfitError(f"the tests of {bug.name!r} could not be run ({code}):\n{output[-3000:]}")
        return Found(bug=bug, red=red[1] if red else None, words=(red and red[2]) or "", seconds=now() - began)

    def control(self, bugs: Iterable[Bug]) -> float:
        """Run all the tests without a bug: they must be green. Raises MisfitError; returns the seconds it took."""
        began = now()
        tests = sorted({test for bug in bugs for test in bug.tests})
        code, output = self._test({}, tests)
        if code != ALL_PASSED:
            raise MisfitError(f"without a planted bug the tests are not green ({code}):\n{output[-3000:]}")
        return now() - began

    def _test(self, edits: Mapping[str, Sequence[tuple[str, str]]], tests: Sequence[str]) -> tuple[int, str]:
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="bug-") as name:
            copy = Path(name)
            shutil.copytree(ROOT / PACKAGE, copy / PACKAGE)  # with what is compiled: that is valid by its source's time
            for file, changes in edits.items():
                text = (copy / PACKAGE / file).read_text(encoding="utf-8")
                for old, new in changes:
                    text = text.replace(old, new)
                source = copy / PACKAGE / file
                source.write_text(text, encoding="utf-8")
                for compiled in source.parent.glob(f"__pycache__/{source.stem}.*"):
                    compiled.unlink()
            return self._pytest(copy, tests)

    def _pytest(self, copy: Path, tests: Sequence[str]) -> tuple[int, str]:
        path = os.pathsep.join(filter(None, (str(copy), os.environ.get("PYTHONPATH"))))
        env = os.environ | {
            "PYTHONPATH": path,
            "PYTHONSAFEPATH": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "400",  # so that pytest says in its summary why a test is red
            "OPTUNA_TUNER_HOME": str(copy / "home"),
            "OPTUNA_TUNER_TEST_POSTGRESQL": self._postgresql,
        }
        options = ["-x", "-q", "-rf", "--tb=line", "--no-header", "-p", "no:cacheprovider", f"--timeout={TEST_S}"]
        command = [sys.executable, "-P", "-c", _RUN, str(copy), *options, *tests]
        ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr


@contextmanager
def nursery(postgresql: str | None = None) -> Iterator[Nursery]:
    """A place to plant bugs; PostgreSQL is started unless one is named."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuner-bugs-")))
        if postgresql is None:
            server = PostgresqlServer(max(Path("/usr/lib/postgresql").glob("*/bin")))
            stack.callback(server.close)
            postgresql = server.new_database()
        yield Nursery(folder, postgresql)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the lane."""
    parser.add_argument("--only", help="the bugs whose name holds these letters")


def run(arguments: argparse.Namespace) -> int:
    """Print which test found which bug; 1 when one survives or no longer fits."""
    bugs = [bug for bug in BUGS if (arguments.only or "") in bug.name]
    began, load = now(), os.getloadavg()[0]
    try:
        with nursery() as found:
            print(f"control without a bug: green in {found.control(bugs):.0f} s", flush=True)
            survivors = [bug for bug in bugs if _show(found.hunt(bug))]
    except MisfitError as error:
        print(error)
        return 1
    head = f"{len(bugs) - len(survivors)} of {len(bugs)} planted bugs found"
    print(f"{head}; {now() - began:.0f} s, load {load:.1f} at the start")
    return 1 if survivors or not bugs else 0


def _show(found: Found) -> bool:
    red = (found.red or "").rpartition("::")[2]
    print(f"{found.bug.name:52} {found.seconds:5.1f} s  {red or 'SURVIVED'}", flush=True)
    if red:
        print(" " * 61 + found.words[:120], flush=True)
    return not red
