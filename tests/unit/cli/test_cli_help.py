"""The help teaches: an example for every command, and every example is a line that the command line accepts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import Result

from optuna_tuner.cli.app import MODULES, SECTIONS, cli
from optuna_tuner.cli.command import Command, Group

Invoke = Callable[..., Result]


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], Command | Group]]:
    """All commands, with the words that lead to them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert isinstance(found, Command | Group), name
        yield (*path, name), found
        if isinstance(found, Group):
            yield from commands(found, *path, name)


ALL = dict(commands(cli))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_shows_an_example_and_explains_its_options(invoke: Invoke, path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert f"  optuna-tuner {path[0]}" in result.stdout.split("Example:")[1] or "--storage" in result.stdout
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_example_can_be_typed(path: tuple[str, ...]) -> None:
    for line in ALL[path].example.splitlines():
        words = shlex.split(
            line.split("   ")[0].split("|")[0].split(">")[0].split("&&")[0].removeprefix('eval "$(').rstrip(')"')
        )
        assert words[0] == "optuna-tuner"
        context = cli.make_context("optuna-tuner", words[1:], resilient_parsing=True)
        name, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
        assert name == path[0]
        assert command is not None
        options = {word for word in rest if word.startswith("-")}
        known = {each for command in _line(command, rest) for param in command.params for each in param.opts}
        assert options <= known, line


def _line(command: click.Command, rest: list[str]) -> list[click.Command]:
    inner = command.get_command(click.Context(command), rest[0]) if isinstance(command, click.Group) else None
    return [command, inner] if inner else [command]


def test_the_help_groups_the_commands(invoke: Invoke) -> None:
    said = invoke("--help").stdout
    for title, names in SECTIONS.items():
        assert f"{title}:" in said
        for name in names:
            assert f"\n  {name} " in said


def test_every_command_is_named_once() -> None:
    assert len(MODULES) == sum(map(len, SECTIONS.values()))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(invoke: Invoke, shell: str) -> None:
    assert "_OPTUNA_TUNER_COMPLETE" in invoke("completion", shell).stdout
