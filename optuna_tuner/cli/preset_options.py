"""What a preset is made for, as options of the commands that make one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import click

if TYPE_CHECKING:
    from optuna_tuner.presets.shelf import Wanted

Decorated = TypeVar("Decorated", bound=Callable[..., object])
Given = str | int | tuple[str, ...] | None

_OPTIONS = (
    click.option("--tier", type=click.IntRange(1, 3), help="How many flags: 1, 2 or 3; see optuna-tuner presets."),
    click.option("--engine-version", help="Yours: only its flags are named; the newest known one where none is given."),
    click.option("--gpus", type=click.IntRange(1, 1024), help="GPUs of one worker's slot; 1 where none are given."),
    click.option(
        "--model", help="Folder, or hub id; with its config.json on this machine, only layouts that it allows."
    ),
    click.option(
        "--with",
        "beside",
        multiple=True,
        type=click.Choice(["parallelism", "quantization"]),
        help="Search this too; may be given twice.",
    ),
)


def preset_options(function: Decorated) -> Decorated:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def text_of(name: str, given: dict[str, Given], engine: str = "") -> str:
    """The preset as it is wanted. Raises NotFoundError, and UsageError for a choice that a ready file does not have."""
    from optuna_tuner.presets.shelf import is_made, preset_text  # noqa: PLC0415  only what makes presets pays for them

    if not is_made(name) and any(given.values()):
        said = ", ".join(f"--{option.replace('_', '-').replace('beside', 'with')}" for option in given if given[option])
        raise click.UsageError(f"the preset {name} comes as it is, without {said}")
    return preset_text(name, _wanted(given, engine))


def _wanted(given: dict[str, Given], engine: str) -> Wanted:
    from optuna_tuner.engines.known_values import model_facts  # noqa: PLC0415  it brings the memory model
    from optuna_tuner.presets.shelf import Wanted  # noqa: PLC0415  as above

    model = str(given["model"] or "")
    return Wanted(
        tier=cast("int", given["tier"] or 1),
        version=str(given["engine_version"] or ""),
        gpus=cast("int", given["gpus"] or 1),
        model=model,
        facts=model_facts(model) if model else {},
        beside=cast("tuple[str, ...]", given["beside"]),
        engine=engine,
    )
