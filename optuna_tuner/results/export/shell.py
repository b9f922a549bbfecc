"""A bash script that becomes the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.taken import Taken, variable

_OWN_GPUS = "CUDA_VISIBLE_DEVICES"  # of the trial's slot; another machine numbers its own


def shell(taken: Taken) -> str:
    """What the deployer `local` runs, without its supervisor."""
    body = taken.body("local")
    env, cwd = body["env"], body["cwd"]
    named = {name: str(value) for name, value in env.items() if name != _OWN_GPUS} if isinstance(env, dict) else {}
    return "".join(
        (
            "#!/usr/bin/env bash\n",
            comment((*heading(taken), *_how(taken))),
            "set -eu\n",
            secrets(taken.launch.secrets),
            *(f"export {variable(name)}={quote(value)}\n" for name, value in named.items()),
            f"cd -- {quote(str(cwd))}\n" if cwd else "",
            f"exec {command(taken.argv)}\n",
        )
    )


def _how(taken: Taken) -> Iterator[str]:
    gpus = taken.launch.gpus
    if gpus:
        yield f"It takes {gpus} GPU{'s' * (gpus > 1)} of this machine; {_OWN_GPUS} says which."
    yield f"Start it: bash THIS_FILE. Ask it: curl {taken.url}/v1/models"
    yield how_to_open(taken)


def how_to_open(taken: Taken) -> str:
    """Who can reach it, and how that is changed."""
    if taken.asked.host in {"127.0.0.1", "::1", "localhost"}:
        return "Only this machine can reach it. For others export it with --host 0.0.0.0: it asks nobody for a key."
    return f"Whoever reaches {taken.asked.host} can use it: it asks nobody for a key."


def secrets(names: Mapping[str, str]) -> str:
    """Their values are read when the script runs, and missed before anything starts."""
    said = {name: f"${{{variable(source)}:?must hold the secret {variable(name)}}}" for name, source in names.items()}
    return "".join(f'{name}="{value}"\nexport {name}\n' for name, value in said.items())


def command(words: Sequence[str]) -> str:
    """One command, each option on a line of its own."""
    line = ""
    for word in words:
        start = " \\\n  " if word.startswith("-") else " "
        line += f"{start if line else ''}{quote(word)}"
    return line
