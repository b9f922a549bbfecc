"""Asks an engine itself for its flags: a command, or a container image, by what it prints for help.

For versions, forks and builds of which there is no released wheel. Nothing of this process's secrets reaches what is
asked, and an image is asked without a network.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from uuid import uuid4

from optuna_tuner.catalog.asking import help_text
from optuna_tuner.catalog.asking.output import output_of
from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.catalog.notes import annotated
from optuna_tuner.clock import Deadline
from optuna_tuner.errors import CatalogError

Ask = Callable[[tuple[str, ...]], str]
HELP: Mapping[str, str] = {"vllm": "--help=all"}  # every other engine shows all its flags with --help
IN_IMAGE: Mapping[str, tuple[str, ...]] = {
    "llama_cpp": ("/app/llama-server",),
    "sglang": ("python3", "-m", "sglang.launch_server"),
    "vllm": ("vllm", "serve"),
}
INSTALLED = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
VERSION = re.compile(r"\bversion: (\d+)\b|(?<![\w.])v?(\d+\.\d+[\w.+-]*)")
PATIENCE_S = 300.0  # importing a whole engine from a cold disk takes minutes


def from_command(argv: Sequence[str], engine: str, version: str = "", deadline: Deadline | None = None) -> Catalogue:
    """The flags of a command, such as `vllm serve`; where no version is given, it is asked too. Raises CatalogError."""
    patience = deadline or Deadline.after(PATIENCE_S)
    return _asked(tuple(argv), engine, version, lambda words: output_of(words, patience))


def from_image(image: str, engine: str, version: str = "", deadline: Deadline | None = None) -> Catalogue:
    """The flags of the engine in a container image, by way of the `docker` command. Raises CatalogError."""
    if engine not in IN_IMAGE:
        raise CatalogError(f'how "{engine}" is started in an image is not known; {", ".join(IN_IMAGE)} can be asked')
    if not image or image.startswith("-"):
        raise CatalogError(f'"{image}" is no image')
    patience = deadline or Deadline.after(PATIENCE_S)
    return _asked(IN_IMAGE[engine], engine, version, lambda words: _in_image(image, words, patience), image=image)


def _asked(argv: tuple[str, ...], engine: str, version: str, ask: Ask, **source: str) -> Catalogue:
    if not argv:
        raise CatalogError("there is no command to ask")
    known = version or _version(argv, engine, ask)
    question = (*argv, HELP.get(engine, "--help"))
    flags = help_text.flags(ask(question))
    if not flags:
        raise CatalogError(f"{shlex.join(question)} printed no help text that is understood")
    source |= {"command": shlex.join(question)}
    return annotated(Catalogue(engine=engine, version=known, source=source, flags=flags))


def _version(argv: tuple[str, ...], engine: str, ask: Ask) -> str:
    """What the installed package says, where the command is Python's, else what `--version` prints."""
    by_python = PurePath(argv[0]).name.startswith("python")
    # the subcommands of an engine have no version of their own
    question = (argv[0], "-c", INSTALLED, engine) if by_python else (argv[0], "--version")
    found = [each for pair in VERSION.findall(ask(question)) for each in pair if each]
    if not found:
        raise CatalogError(f"{shlex.join(question)} printed no version; say which one it is")
    return str(found[-1])


def _in_image(image: str, words: tuple[str, ...], deadline: Deadline) -> str:
    """What a command prints in a container of its own, which does not outlive the question."""
    name = f"optuna-tuner-asks-{uuid4().hex}"
    limits = ("--rm", "--network", "none", "--name", name, "--env", "COLUMNS=200")
    argv = ("docker", "run", *limits, "--entrypoint", words[0], image, *words[1:])
    try:
        return output_of(argv, deadline)
    except CatalogError:
        _remove(name)
        raise


def _remove(name: str) -> None:
    """Ending the `docker` command does not end its container."""
    try:
        output_of(("docker", "rm", "--force", name), Deadline.after(30.0))
    except CatalogError:  # there is no docker, or the container is gone already
        return
