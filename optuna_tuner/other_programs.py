"""Programs of others that are run beside ours: where they are, and one command that makes an environment for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.home import locks_folder, tools_folder

INSTALL_S = 3600
OFFLINE: Mapping[str, str] = MappingProxyType({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """A program, where it may be found.

    Attributes:
        name: of its file.
        called: by people, with its version where that matters.
        variable: of the environment; it names another one for all studies.
        how: to get it, in a few words.
        home: the environment that was made for it; None for one that is not made here.
        option: of the study file, which names another one for that study.

    """

    name: str
    called: str
    variable: str
    how: str
    home: Callable[[], Path] | None = None
    option: str = "benchmark.executable"

    def find(self, executable: str | None) -> Path | None:
        """As the study says, as the variable says, as installed here, beside this Python, or on PATH."""
        if chosen := self.chosen(executable):
            return _program(Path(chosen).expanduser())
        own = (self.home() / "bin" / self.name,) if self.home else ()
        places = (*own, Path(sys.executable).parent / self.name)
        on_path = shutil.which(self.name)
        return next((place for place in places if _program(place)), Path(on_path) if on_path else None)

    def chosen(self, executable: str | None) -> str | None:
        """What somebody named, in the study or by the variable; nothing else is taken in its place."""
        return executable or os.environ.get(self.variable)

    def missing(self, executable: str | None) -> str | None:
        """Why there is none, and what helps; None when there is one. What somebody chose is theirs to correct."""
        if self.find(executable):
            return None
        if executable:
            return f"{self.option}: there is no program {executable}"
        chosen = os.environ.get(self.variable)
        return f"{self.variable}: there is no program {chosen}" if chosen else f"{self.called} is not here: {self.how}"

    def demanded(self, executable: str | None) -> Path:
        """The program. Raises EnvironmentFaultError with what `missing` says."""
        program = self.find(executable)
        if program is None:
            raise EnvironmentFaultError(self.missing(executable) or "")
        return program


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """How a program's environment is made.

    Attributes:
        name, version: of the program, and of the project that it comes with.
        requirements: what pip is asked for.
        pythons: the versions of Python that it runs on, the first one that is found is taken.
        module: what it imports when it runs.
        size: of the environment and the time to make it, for people.
        option: of the study file, which names another program for that study.

    """

    name: str
    version: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...]
    module: str
    size: str
    option: str = "benchmark.executable"

    def folder(self) -> Path:
        """Where `install` puts it."""
        return tools_folder() / f"{self.name}-{self.version}"

    def executable(self) -> Executable:
        """What is then there."""
        variable = f"OPTUNA_TUNER_{self.name.upper().replace('-', '_')}"
        how = f"optuna-tuner doctor --install {self.name}"
        called = f"{self.name} {self.version}"
        return Executable(
            name=self.name, called=called, variable=variable, how=how, home=self.folder, option=self.option
        )

    def install(self, progress: Callable[[str], None]) -> Path:
        """Make the environment and return the program; at once when it is already there.

        It is built beside its place and renamed when complete, so that nobody ever sees half of it. `progress` gets one
        line a step. Raises EnvironmentFaultError with the reason.
        """
        from filelock import FileLock  # noqa: PLC0415  checking a study file loads the benchmark and installs nothing

        locks_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(locks_folder() / f"{self.name}.lock"):
            program = self.folder() / "bin" / self.name
            if _program(program):
                return program
            python = self._python()
            progress(f"making an environment with {python}")
            self._make(python, progress)
        progress(f"{self.name} {self.version} is in {self.folder()}")
        return program

    def _make(self, python: str, progress: Callable[[str], None]) -> None:
        """A relocated environment keeps its old path in its scripts, so the path is made right from the start."""
        place = self.folder()
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        building = place.with_name(place.name + ".building")
        shutil.rmtree(building, ignore_errors=True)
        try:
            _call([python, "-m", "venv", str(building)])
            progress(f"installing {self.name}=={self.version} ({self.size})")
            interpreter = str(building / "bin" / "python")
            # Most modules are never imported: only those that are get compiled, and that shows that they are whole.
            _call([interpreter, "-m", "pip", "install", "--quiet", "--no-compile", *self.requirements])
            _call([interpreter, "-E", "-c", f"import {self.module}"])
            _point_to(building, place)
            building.rename(place)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _python(self) -> str:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if here in self.pythons:
            return sys.executable
        found = next((path for version in self.pythons if (path := shutil.which(f"python{version}"))), None)
        if found is None:
            raise EnvironmentFaultError(
                f"{self.name} {self.version} needs Python {self.pythons[-1]} to {self.pythons[0]}; this is {here}, and "
                f"none of {', '.join('python' + version for version in self.pythons)} is on PATH: install one of them"
            )
        return found


GENAI_BENCH = Kit(
    name="genai-bench",
    version="0.0.5",
    requirements=("genai-bench==0.0.5",),
    pythons=("3.12", "3.11", "3.10"),
    module="genai_bench.cli.cli",
    size="about 1.3 GB, one to three minutes",
)
GUIDELLM = Kit(
    name="guidellm",
    version="0.8.1",
    # It asks for any torch; this is the one that it was tried with.
    requirements=("torch==2.13.0", "guidellm==0.8.1"),
    pythons=("3.13", "3.12", "3.11", "3.10"),
    module="guidellm.cli.run",
    size="1.2 GB, or several with torch's CUDA libraries; one to five minutes",
)
AICONFIGURATOR = Kit(
    name="aiconfigurator",
    version="0.12.0",
    # The command goes on in aisimulate, whose releases come from an index of NVIDIA's own; either program will do.
    requirements=("aiconfigurator==0.12.0",),
    pythons=("3.13", "3.12", "3.11"),
    module="aiconfigurator.main",
    size="about 0.9 GB, one to three minutes",
    option="prior.executable",
)
KITS: Mapping[str, Kit] = MappingProxyType({kit.name: kit for kit in (GENAI_BENCH, GUIDELLM, AICONFIGURATOR)})
VLLM = Executable(
    name="vllm",
    called="vllm",
    variable="OPTUNA_TUNER_VLLM",
    how="install vLLM, or let benchmark.executable name the program",
)


def offline() -> Mapping[str, str]:
    """Clients fetch nothing by themselves; who wants a tokenizer from the hub says so in the worker's environment."""
    return {name: os.environ.get(name, value) for name, value in OFFLINE.items()}


def _program(path: Path) -> Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _point_to(building: Path, place: Path) -> None:
    """Let the scripts name the interpreter by the path that it will have."""
    for script in (building / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            script.write_bytes(text.replace(bytes(building), bytes(place)))


def _call(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=INSTALL_S)  # noqa: S603  ours
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFaultError(f"{' '.join(argv[:4])}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise EnvironmentFaultError(f"{' '.join(argv)} ended with code {done.returncode}:\n" + "\n".join(said))
