"""The file that `vllm serve --config` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from shlex import quote

from optuna_tuner.errors import ExportError
from optuna_tuner.results.export.compose import as_yaml
from optuna_tuner.results.export.heading import comment, heading
from optuna_tuner.results.export.shell import how_to_open, secrets
from optuna_tuner.results.export.taken import Taken, variable
from optuna_tuner.values import Json

ENGINE = "vllm"


def vllm_config(taken: Taken) -> str:
    """The arguments of `vllm serve`, each under its name without dashes. Raises ExportError for another engine.

    vLLM makes of each key and value the words `--key value`. A key that is true stands alone, so that a switch which
    is off is written `no-key: true`: older versions drop a key that is false.
    """
    kind = taken.study.spec.engine.kind
    if kind != ENGINE:
        raise ExportError(f"only vllm reads a vllm-config; the engine of this study is {kind}")
    place = taken.launch.argv.index("{host}") - 1
    program, model = taken.launch.argv[: place - 1], taken.argv[place - 1]
    arguments = {"model": model, **dict(_arguments(taken.argv[place:]))}
    start = " ".join(_said("program", word) for word in program)
    commands = (*_settings(taken), f"{start} --config THIS_FILE.yaml")
    shown = "".join(f"#   {line}\n" for line in commands)
    return comment((*heading(taken), *_how(taken))) + shown + as_yaml(arguments)


def _how(taken: Taken) -> Iterator[str]:
    yield f"Ask it: curl {taken.url}/v1/models"
    yield how_to_open(taken)
    yield "Start it, with the variables that the file cannot hold:" if _settings(taken) else "Start it:"


def _settings(taken: Taken) -> Sequence[str]:
    """The environment, a command a line."""
    plain = [f"export {variable(name)}={_said(f'variable {name}', value)}" for name, value in taken.launch.env.items()]
    return (*secrets(taken.launch.secrets).splitlines(), *plain)


def _said(what: str, word: str) -> str:
    """A word on its line in a comment. Raises ExportError for one that would leave it."""
    if not word.isprintable():
        raise ExportError(f"a comment cannot say the {what}, which is not plain text; take --to shell")
    return quote(word)


def _arguments(words: Sequence[str]) -> Iterator[tuple[str, Json]]:
    found: dict[str, list[str]] = {}
    option = ""
    for word in words:
        if word.startswith("--"):
            option, equals, value = word[2:].partition("=")
            found[option] = [value] if equals else []
        else:
            found[option].append(word)
    for name, values in found.items():
        yield name, _value(name, values)


def _value(name: str, values: Sequence[str]) -> Json:
    for value in values:
        if value.startswith("-") and not re.fullmatch(r"-[\d.]+", value):
            raise ExportError(f"a vllm-config cannot say {name}={value}, which begins with a dash; take --to shell")
    read = [_number(value) for value in values]
    if not read:
        return True
    return read[0] if len(read) == 1 else list(read)


def _number(word: str) -> Json:
    """A number where it comes back as the same word, else the text."""
    try:
        value: Json = json.loads(word)
    except ValueError:
        return word
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and str(value) == word else word
