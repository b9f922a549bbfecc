"""What the pages say is what the code does: commands exist, generated pages are fresh, every name is told."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest
from pydantic import BaseModel

from optuna_tuner.cli.app import MODULES, cli
from optuna_tuner.spec import goals, prior, quality, space, study, task_json

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
SPEC = [
    each
    for module in (study, goals, prior, quality, space)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__
]
TASK = [task_json.Task, task_json.TaskModel, task_json.Optimization, task_json.TaskBenchmark]


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def generator() -> ModuleType:
    found = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def commands() -> list[tuple[str, str]]:
    """Every command line of ours in the code blocks of all pages, with its page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = [line.removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines()]
            found += [(str(page.relative_to(ROOT)), line) for line in lines if line.startswith("optuna-tuner ")]
    return found


def test_generated_pages_are_fresh() -> None:
    stale = [name for name, content in generator().pages().items() if text(f"reference/{name}") != content]
    assert stale == [], "run: python docs/generate.py"


def test_the_schema_beside_the_study_files_is_fresh() -> None:
    assert (ROOT / "studies" / "study.schema.json").read_text(encoding="utf-8") == generator().schema(), (
        "run: python docs/generate.py"
    )


def test_the_schema_of_the_report_is_fresh() -> None:
    assert text("reference/report.schema.json") == generator().report_schema(), "run: python docs/generate.py"


def test_the_schemas_of_a_bundle_are_fresh() -> None:
    made = generator().bundle_schemas()
    folder = ROOT / "optuna_tuner" / "results" / "bundle" / "schema"
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == made, (
        "run: python docs/generate.py"
    )


def test_the_studies_that_are_made_are_fresh() -> None:
    stale = [
        name for name, made in generator().studies().items() if (ROOT / "studies" / name).read_text("utf-8") != made
    ]
    assert stale == [], "run: python docs/generate.py"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_command_is_documented(name: str) -> None:
    assert f"### `optuna-tuner {name}" in text("reference/cli.md")


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_in_the_docs_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(re.split(r"\s{2,}| [|>&;#]", line)[0])[1:]
    context = click.Context(cli, info_name="optuna-tuner")
    _, words, _ = cli.make_parser(context).parse_args(words)
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"{page}: {line}"
        command, words = found, words[1:]
    command.make_parser(click.Context(command)).parse_args(words)  # raises NoSuchOption


@pytest.mark.parametrize("model", SPEC, ids=lambda model: model.__name__)
def test_every_key_of_a_study_file_is_documented_and_described(model: type[BaseModel]) -> None:
    page = text("reference/study-file.md")
    described = {"description", "title", "type"}
    assert [name for name in model.model_fields if name not in described and f"`{name}`" not in page] == []


@pytest.mark.parametrize("model", TASK, ids=lambda model: model.__name__)
def test_every_key_of_a_task_file_is_documented(model: type[BaseModel]) -> None:
    page = text("reference/task-format.md")
    assert [name for name in model.model_fields if not re.search(rf"[`.]{name}[`.]", page)] == []


def test_every_variable_of_ours_is_documented() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "optuna_tuner").rglob("*.py"))
    names = set(re.findall(r"\"(OPTUNA_TUNER_[A-Z_]+[A-Z])\"", sources))
    assert {"OPTUNA_TUNER_HOME", "OPTUNA_TUNER_STORAGE"} <= names
    assert [name for name in sorted(names) if f"`{name}`" not in text("reference/environment.md")] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link).resolve() for link in links if not re.match(r"[a-z]+:", link)]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []
