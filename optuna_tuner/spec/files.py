"""Study files: text or file -> StudySpec, or every fault at once. Nothing but the named file is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import Fault, SpecError, UnknownPluginError
from optuna_tuner.spec.checks import check
from optuna_tuner.spec.draft import draft_of
from optuna_tuner.spec.faults import faults_of, show
from optuna_tuner.spec.parts import make_plugins
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.spec.task_json import is_task, tree_of_task
from optuna_tuner.spec.yaml_nodes import LARGEST_FILE, MOST_FAULTS, TOO_LARGE, Tree, read_tree


def load_study(path: Path, kinds: Kinds) -> StudySpec:
    """Read a study file, or a file in the older task format. Raises SpecError with every fault."""
    return parse_study(read_text(path), str(path), kinds)


def parse_study(text: str, file_name: str, kinds: Kinds) -> StudySpec:
    """Read a study, or a task, from text; `file_name` is only for the messages. Raises SpecError with every fault."""
    tree = read_tree(text, file_name)
    try:
        return _spec(tree_of_task(tree) if is_task(tree.value) else tree, kinds)
    except RecursionError as error:
        raise SpecError([Fault(file_name, 0, 0, "", "too deeply nested")]) from error


def read_task(text: str, file_name: str, kinds: Kinds) -> StudySpec:
    """Read a file in the older task format, and nothing else. Raises SpecError with every fault."""
    return _spec(tree_of_task(read_tree(text, file_name)), kinds)


def check_study(spec: StudySpec, kinds: Kinds) -> None:
    """Raise SpecError where a study that was made in Python would be refused in a file."""
    read_content(spec.model_dump(mode="json", exclude_defaults=True), spec.name, kinds)


def read_content(content: JsonValue, file_name: str, kinds: Kinds) -> StudySpec:
    """Read a study from what a file of it would hold. Raises SpecError with every fault."""
    return _spec(Tree(file=file_name, value=content), kinds)


def _spec(tree: Tree, kinds: Kinds) -> StudySpec:
    if not isinstance(tree.value, dict):
        message = f"a study file is a mapping (name: ..., model: ...), not {show(tree.value)}"
        raise SpecError([*tree.faults, tree.fault((), message)])
    spec, faults = _read(tree)
    draft = draft_of(tree)
    plugins = make_plugins(draft, kinds)
    found = _once([*tree.faults, *_no_echoes(faults, tree), *check(draft, plugins)])
    if found and set(found) <= set(plugins.unknown):
        raise UnknownPluginError(found)
    if found or spec is None:
        raise SpecError(found)
    return spec


def _read(tree: Tree) -> tuple[StudySpec | None, list[Fault]]:
    try:
        return StudySpec.model_validate(tree.value), []
    except ValidationError as error:
        return None, faults_of(error, tree, StudySpec)


def _no_echoes(faults: Iterable[Fault], tree: Tree) -> Iterator[Fault]:
    """Leave out what is said of a whole because a word in it could not be read."""
    unread = [fault.path for fault in tree.faults]
    for fault in faults:
        if not any(path.startswith((f"{fault.path}.", f"{fault.path}[")) for path in unread):
            yield fault


def _once(faults: Iterable[Fault]) -> list[Fault]:
    """The first fault at each place: what comes after it is mostly its echo. At most as many as anybody reads."""
    told: set[tuple[object, ...]] = set()
    kept: list[Fault] = []
    for fault in faults:
        marks = {(fault.line, fault.column, fault.path), (fault.path, fault.message)}
        if fault.line == 0:  # without places only the words tell faults apart
            marks = {(fault.path, fault.message)}
        if not marks & told:
            kept.append(fault)
        told |= marks
    return kept[:MOST_FAULTS]


def read_text(path: Path) -> str:
    """The text of a file. Raises SpecError where it is none, or not to be read."""
    name = str(path)
    try:
        if path.exists() and not path.is_file():
            raise SpecError([Fault(name, 0, 0, "", "is a folder" if path.is_dir() else "is no regular file")])
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise SpecError([Fault(name, 0, 0, "", TOO_LARGE)])
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise SpecError([Fault(name, 0, 0, "", "no such file")]) from error
    except UnicodeDecodeError as error:
        raise SpecError([_not_utf8(name, content, error)]) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError([Fault(name, 0, 0, "", f"cannot be read: {reason}")]) from error


def _not_utf8(name: str, content: bytes, error: UnicodeDecodeError) -> Fault:
    before = content[: error.start]
    line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
    return Fault(name, line, column, "", f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8")
