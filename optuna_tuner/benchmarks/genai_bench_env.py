"""genai-bench in an environment of its own: where it is, and one command that makes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.home import locks_folder, tools_folder

VERSION = "0.0.5"
VARIABLE = "OPTUNA_TUNER_GENAI_BENCH"
HOW = "optuna-tuner doctor --install genai-bench"
PYTHONS = ("3.12", "3.11", "3.10")  # genai-bench 0.0.5 needs Python below 3.13
INSTALL_S = 3600


def folder() -> Path:
    """Where `install` puts it."""
    return tools_folder() / f"genai-bench-{VERSION}"


def find(executable: str | None) -> Path | None:
    """The program: as the study says, as the variable says, as installed here, beside this Python, or on PATH."""
    if chosen := executable or os.environ.get(VARIABLE):
        return _program(Path(chosen).expanduser())
    places = (folder() / "bin" / "genai-bench", Path(sys.executable).parent / "genai-bench")
    on_path = shutil.which("genai-bench")
    return next((place for place in places if _program(place)), Path(on_path) if on_path else None)


def missing(executable: str | None) -> str | None:
    """Why there is none, and what helps; None when there is one. What somebody chose is theirs to correct."""
    if find(executable):
        return None
    if executable:
        return f"benchmark.executable: there is no program {executable}"
    chosen = os.environ.get(VARIABLE)
    return f"{VARIABLE}: there is no program {chosen}" if chosen else f"genai-bench {VERSION} is not here: {HOW}"


def _program(path: Path) -> Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None


def install(progress: Callable[[str], None]) -> Path:
    """Make the environment and return the program; at once when it is already there.

    It is built beside its place and renamed when complete, so that nobody ever sees half of it. `progress` gets one
    line a step. Raises EnvironmentFaultError with the reason.
    """
    from filelock import FileLock  # noqa: PLC0415  checking a study file loads the benchmark and installs nothing

    locks_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(locks_folder() / "genai-bench.lock"):
        program = folder() / "bin" / "genai-bench"
        if _program(program):
            return program
        python = _python()
        progress(f"making an environment with {python}")
        _make(python, progress)
    progress(f"genai-bench {VERSION} is in {folder()}")
    return program


def _make(python: str, progress: Callable[[str], None]) -> None:
    """A relocated environment keeps its old path in its scripts, so the path is made right from the start."""
    shutil.rmtree(folder(), ignore_errors=True)
    folder().parent.mkdir(parents=True, exist_ok=True)
    building = folder().with_name(folder().name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        _call([python, "-m", "venv", str(building)])
        progress(f"installing genai-bench=={VERSION} (about 1.3 GB, one to three minutes)")
        interpreter = str(building / "bin" / "python")
        # Of its 29,000 modules a benchmark imports 3,500: only those are compiled, and that shows that they are whole.
        _call([interpreter, "-m", "pip", "install", "--quiet", "--no-compile", f"genai-bench=={VERSION}"])
        _call([interpreter, "-E", "-c", "import genai_bench.cli.cli"])
        _point_to(building, folder())
        building.rename(folder())
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _point_to(building: Path, place: Path) -> None:
    """Let the scripts name the interpreter by the path that it will have."""
    for script in (building / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            script.write_bytes(text.replace(bytes(building), bytes(place)))


def _python() -> str:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here in PYTHONS:
        return sys.executable
    found = next((path for version in PYTHONS if (path := shutil.which(f"python{version}"))), None)
    if found is None:
        raise EnvironmentFaultError(
            f"genai-bench {VERSION} needs Python 3.10 to 3.12; this is {here}, and none of "
            f"{', '.join('python' + version for version in PYTHONS)} is on PATH: install one of them"
        )
    return found


def _call(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=INSTALL_S)  # noqa: S603  ours
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFaultError(f"{' '.join(argv[:4])}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise EnvironmentFaultError(f"{' '.join(argv)} ended with code {done.returncode}:\n" + "\n".join(said))
