"""Commands about study files: presets, init, validate, convert, schema, plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.new_file import NEW_FILE, STDOUT, write
from optuna_tuner.cli.output import document_option, dump
from optuna_tuner.cli.preset_options import Given, preset_options, text_of
from optuna_tuner.cli.session import Session
from optuna_tuner.errors import Fault, SpecError

if TYPE_CHECKING:
    from optuna_tuner.contracts import Kinds

STUDY_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
DEFAULT_PRESET = "embedded"


@command(
    example="optuna-tuner init\n"
    "optuna-tuner init study.yaml --preset vllm --tier 2 --engine-version 0.14.0 --gpus 4 --with parallelism"
)
@click.argument("file", type=NEW_FILE, default="study.yaml")
@click.option("--preset", default=DEFAULT_PRESET, show_default=True, help="Which one; see optuna-tuner presets.")
@preset_options
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@pass_session
def init(session: Session, /, file: Path, preset: str, *, force: bool, **wanted: Given) -> None:
    """Write a commented study file to start from.

    It is called study.yaml, unless FILE says otherwise. The presets vllm, sglang and llama_cpp are made for a version
    of the engine: a flag that it does not have is left out, and said so.
    """
    write(file, text_of(preset, wanted), force=force)
    if file != STDOUT:
        session.note(
            f"Wrote {file}. Next:\n"
            f"  optuna-tuner plan {file}\n"
            f"  optuna-tuner run {file}\n"
            f"  optuna-tuner schema {file.parent / 'study.schema.json'}   (your editor completes the file then)"
        )


@command(
    example="optuna-tuner presets\n"
    "optuna-tuner presets vllm --tier 2 --engine-version 0.14.0\n"
    "optuna-tuner presets parallelism --engine sglang --engine-version 0.5.23 --gpus 8"
)
@click.argument("name", required=False)
@click.option("--engine", default="", help="For parallelism and quantization, which belong to no engine.")
@preset_options
@pass_session
def presets(session: Session, /, name: str | None, engine: str, **wanted: Given) -> None:
    """List what there is to start from, or print one, made for a version of its engine.

    Tier 1 has the flags that nearly always matter, tier 2 more of them for 40 trials and more, tier 3 also those that
    change the answers or that not every GPU and model takes.
    """
    from optuna_tuner.cli.output import print_rows  # noqa: PLC0415  only the list needs it
    from optuna_tuner.presets.shelf import preset_names, summary  # noqa: PLC0415  only what reads presets pays
    from optuna_tuner.presets.tiers import NEUTRAL  # noqa: PLC0415  as above

    if name is not None:
        click.echo(text_of(name, wanted, engine), nl=False)
    else:
        print_rows(session, ("preset", "is"), [(each, summary(each)) for each in (*preset_names(), *NEUTRAL)])


@command(example="optuna-tuner validate study.yaml\noptuna-tuner validate --fix studies/*.yaml")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--fix", is_flag=True, help="First give flags that were renamed their names of the engine's version.")
@pass_session
def validate(session: Session, files: tuple[Path, ...], *, fix: bool) -> None:
    """Check study files; say all that is wrong, with its line.

    Nothing is started. Exit code 2 when anything is wrong. Flags are held against the engine's own where the file
    names its version (engine: {version: ...}) and `optuna-tuner catalog list` has it.
    """
    from optuna_tuner.plugins import InstalledKinds  # noqa: PLC0415  --help must not pay for pydantic
    from optuna_tuner.spec.files import load_study  # noqa: PLC0415  likewise; a Tuner would bring Optuna and SQLAlchemy
    from optuna_tuner.tuning.foreseen import here, refusal_warnings  # noqa: PLC0415  likewise

    kinds = InstalledKinds()
    faults: list[Fault] = []
    for file in files:
        if fix:
            _fix(session, file, kinds)
        try:
            spec = load_study(file, kinds)
        except SpecError as error:
            faults.extend(error.faults)
        else:
            session.note(f'{file}: a good study, "{spec.name}"')
            for warning in refusal_warnings(spec, here(spec, kinds)):
                session.note(f"{file}: warning: {warning}")
    if faults:
        raise SpecError(faults)


@command(example="optuna-tuner convert task.json -o study.yaml")
@click.argument("task", type=STUDY_FILE)
@click.option("-o", "--output", "file", type=NEW_FILE, default=STDOUT, help="File to write; default: stdout.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@pass_session
def convert(session: Session, task: Path, file: Path, *, force: bool) -> None:
    """Write the study file that an older task file means."""
    from optuna_tuner.spec.writing import to_yaml  # noqa: PLC0415  it brings pydantic and YAML with it

    write(file, to_yaml(session.tuner.validate(task)).rstrip("\n") + "\n", force=force)


@command(example="optuna-tuner schema study.schema.json")
@click.argument("file", type=NEW_FILE, default=STDOUT)
def schema(file: Path) -> None:
    """Print the JSON Schema of study files, for editors.

    An editor with it completes and checks study files. With FILE it is written there; an older one is replaced.
    """
    import json  # noqa: PLC0415  --help does without it

    from optuna_tuner.plugins import InstalledKinds  # noqa: PLC0415  it brings pydantic with it
    from optuna_tuner.spec.json_schema import study_schema  # noqa: PLC0415  likewise

    write(file, json.dumps(study_schema(InstalledKinds()), indent=2) + "\n", force=True)


@command(example="optuna-tuner plugins\noptuna-tuner plugins vllm")
@click.argument("kind", required=False)
@document_option
@pass_session
def plugins(session: Session, kind: str | None, output: str) -> None:
    """List engines, deployers and benchmarks with their options."""
    from optuna_tuner.cli.plugin_list import plugin_list, show_plugins  # noqa: PLC0415  it loads every plugin

    found = plugin_list(kind)
    if output == "table":
        show_plugins(session, found)
    else:
        dump(found, output)


def _fix(session: Session, file: Path, kinds: Kinds) -> None:
    from optuna_tuner.spec.mending import mend_file  # noqa: PLC0415  only --fix needs it

    try:
        renamed = mend_file(file, kinds)
    except SpecError:
        return  # what is wrong with it is said by the check
    except OSError as error:
        raise click.UsageError(f"{file} cannot be written: {error.strerror}") from error
    for old, new in renamed.items():
        session.note(f"{file}: {old} is now {new}")
