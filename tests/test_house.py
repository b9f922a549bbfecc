"""The house rules, held by measure: sizes, names, layers, and that what exists is documented."""

from __future__ import annotations

import ast
import pkgutil
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

import optuna_tuner
from optuna_tuner import errors
from optuna_tuner.metrics import METRICS
from optuna_tuner.plugins import GROUPS, InstalledKinds
from optuna_tuner.spec.files import load_study
from optuna_tuner.values import Cause

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "optuna_tuner"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[Path, Function]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield path, node


def code_lines(function: Function) -> int:
    """Lines from `def` to the end, without the docstring."""
    documented = ast.get_docstring(function, clean=False)
    last = function.end_lineno or function.lineno
    return last - function.lineno + 1 - (documented.count("\n") + 1 if documented else 0)


def test_functions_are_short() -> None:
    sizes = {f"{path.name}:{function.name}": code_lines(function) for path, function in functions()}
    assert {name: size for name, size in sizes.items() if size > 40} == {}
    assert statistics.median(sizes.values()) <= 11


def test_files_are_short() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: size for name, size in sizes.items() if size > 300} == {}
    assert statistics.median(sizes.values()) <= 150


def test_functions_take_few_parameters() -> None:
    def count(function: Function) -> int:
        names = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
        return len([name for name in names if name not in {"self", "cls"}])

    assert [f"{path.name}:{function.name}" for path, function in functions() if count(function) > 6] == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [path.name for path in FILES if path.stem in {"utils", "helpers", "common", "manager"}] == []


def test_only_the_clock_sleeps() -> None:
    sleepers = [
        path.name for path in FILES if re.search(r"\btime\.sleep\(|\basyncio\.sleep\(", path.read_text("utf-8"))
    ]
    event_loop = {"http_client.py"}  # an event loop has a clock of its own
    assert set(sleepers) <= {"clock.py"} | event_loop


def test_only_the_top_of_a_worker_and_of_a_request_catches_everything() -> None:
    found = [path.name for path in FILES if re.search(r"except Exception\b", path.read_text("utf-8"))]
    assert set(found) == {"pulse.py", "worker.py"}  # a pulse is what a worker does in a thread of its own


def test_who_catches_everything_else_only_cleans_up_and_raises_it_again() -> None:
    handlers = [
        (path.name, node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "BaseException")
    ]
    quiet = [
        name for name, node in handlers if not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]
    assert quiet == []


def test_signatures_do_not_say_any() -> None:
    def annotations(function: Function) -> Iterator[str]:
        for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
            yield ast.unparse(each.annotation) if each.annotation else ""
        yield ast.unparse(function.returns) if function.returns else ""

    guilty = [
        f"{path.name}:{function.name}"
        for path, function in functions()
        if any(re.search(r"\bAny\b", text) for text in annotations(function))
    ]
    assert guilty == []


def test_what_is_checked_is_ready_when_it_is_imported() -> None:
    """Pydantic builds what it left for the first use without a lock; a worker's threads would build it side by side."""
    for module in pkgutil.walk_packages(optuna_tuner.__path__, "optuna_tuner."):
        if ".migrations." not in module.name:
            import_module(module.name)

    def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for each in model.__subclasses__():
            yield each
            yield from below(each)

    ours = [model for model in below(BaseModel) if model.__module__.startswith("optuna_tuner.")]
    assert len(ours) > 60
    assert [model.__qualname__ for model in ours if not model.__pydantic_complete__] == []


def test_inheritance_is_shallow() -> None:
    for path in FILES:
        if path.name == "__main__.py" or "migrations" in path.parts:  # Alembic runs these in a context of its own
            continue
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__ and not issubclass(kind, Exception):
                own = [base for base in kind.__mro__ if base.__module__.startswith("optuna_tuner")]
                assert len(own) <= 3, kind


def test_the_error_tree_is_drawn_completely() -> None:
    drawn = errors.__doc__ or ""
    kinds = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert [name for name in kinds if name not in drawn] == []


def test_the_layers_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def documented() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("word", sorted(METRICS))
def test_every_metric_is_documented(word: str) -> None:
    base = word.split(".", maxsplit=1)[0]
    assert f"`{base}" in documented()


@pytest.mark.parametrize("cause", sorted(Cause))
def test_every_cause_is_documented(cause: Cause) -> None:
    assert f"`{cause.value}`" in documented()


@pytest.mark.parametrize(
    "kind",
    sorted(
        name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.TunerError)
    ),
)
def test_every_error_is_documented(kind: str) -> None:
    assert kind in documented()


@pytest.mark.parametrize(
    ("group", "kind"), [(group, kind) for group in GROUPS for kind in InstalledKinds().names(group)]
)
def test_every_plugin_and_each_of_its_options_is_documented(group: str, kind: str) -> None:
    text = documented()
    assert f"`{kind}`" in text
    options = InstalledKinds().plugin(group, kind).Options.model_fields
    assert [name for name in options if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.name)
def test_every_study_file_is_valid_and_names_its_schema(path: Path) -> None:
    load_study(path, InstalledKinds())
    schema = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / schema).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []
