"""YAML or JSON text -> plain values that know where they stand. Bounded in size and depth; no aliases, no tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from optuna_tuner.errors import Fault, SpecError
from optuna_tuner.spec.scalars import ScalarError, plain
from optuna_tuner.values import Json

LARGEST_FILE = 1_000_000  # bytes
TOO_LARGE = f"too large: a study file has at most {LARGEST_FILE} bytes"
DEEPEST = 50
MOST_FAULTS = 100  # a file with more is no study file; the rest would only hide the first

Path = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A document: its value, and the place of every value and key in it by path.

    A tree that was made from another document keeps in `origins` which path there each of its paths comes from.
    """

    file: str
    value: Json
    values: Mapping[Path, Place] = field(default_factory=dict)
    keys: Mapping[Path, Place] = field(default_factory=dict)
    origins: Mapping[Path, Path] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()  # duplicate keys and unusable words; the rest of the document can still be checked

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> Fault:
        """A fault at the value of `path`, or at its key; at the nearest one above where there is neither."""
        path = self._origin(path)
        line, column = self._place(path, at_key=at_key)
        return Fault(file=self.file, line=line, column=column, path=spell(path), message=message)

    def at(self, path: Path) -> Json:
        """The value at a path; None where there is none."""
        found: Json = self.value
        for step in path:
            if isinstance(found, dict) and isinstance(step, str):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def _origin(self, path: Path) -> Path:
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]] + path[length:]
        return path

    def _place(self, path: Path, *, at_key: bool) -> Place:
        if at_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (0, 0))


def spell(path: Path) -> str:
    """A path as the user reads it: `goals.objectives[0].metric`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return "".join(character if character.isprintable() else "?" for character in text)


def read_tree(text: str, file_name: str) -> Tree:
    """Read one document. Raises SpecError where the text is no YAML; milder faults are kept in the tree."""
    _check_text(text, file_name)
    if text.lstrip()[:1] == "{":
        text = text.replace(
            "\t", " "
        )  # JSON may be indented by tabs, YAML may not; inside JSON strings they are banned
    try:
        root = _compose(text)
        reader = _Reader(file_name)
        value = reader.read(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        raise SpecError([_broken(error, file_name)]) from error
    except yaml.YAMLError as error:
        raise SpecError([Fault(file_name, 0, 0, "", f"cannot be read as YAML: {error}")]) from error
    except (ValueError, OverflowError) as error:  # PyYAML hands any number to chr()
        raise SpecError([Fault(file_name, 0, 0, "", "an escape in quotes names no character")]) from error
    except RecursionError as error:
        raise SpecError([Fault(file_name, 0, 0, "", "too deeply nested")]) from error
    if root is None:
        raise SpecError([Fault(file_name, 0, 0, "", "the file is empty")])
    return Tree(file=file_name, value=value, values=reader.values, keys=reader.keys, faults=tuple(reader.faults))


def _check_text(text: str, file_name: str) -> None:
    if len(text.encode(errors="surrogatepass")) > LARGEST_FILE:
        raise SpecError([Fault(file_name, 0, 0, "", TOO_LARGE)])
    for number, line in enumerate(text.split("\n"), start=1):
        for column, character in enumerate(line, start=1):
            if not (character.isprintable() or character in "\t\r\x85\u2028\u2029\ufeff") and _unreadable(character):
                message = f"character U+{ord(character):04X} is not allowed in a text file"
                raise SpecError([Fault(file_name, number, column, "", message)])


def _unreadable(character: str) -> bool:
    return yaml.reader.Reader.NON_PRINTABLE.search(character) is not None


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses what could make a small file large or mean more than data."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML leaves it bare
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused("anchors and aliases (& and *) are not allowed; write the value out", event.start_mark)
        if event.tag is not None:
            raise _Refused("tags (!) are not allowed; quote the text if it begins with !", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Refused(f"too deeply nested: at most {DEEPEST} levels", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Refused(yaml.MarkedYAMLError):
    def __init__(self, message: str, mark: yaml.Mark) -> None:
        super().__init__(None, None, message, mark)


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        if not loader.check_node():
            return None
        root = loader.get_node()
        if loader.check_node():
            second = loader.peek_event().start_mark  # type: ignore[no-untyped-call]  # types-PyYAML leaves it bare
            raise _Refused("a second document begins here; a study file holds one", second)
        return root
    finally:
        loader.dispose()


_PLAINER = {
    "found character '\\t' that cannot start any token": "a tab; YAML is indented by spaces",
    "mapping values are not allowed here": "a key cannot stand here; look at the indentation of this line",
    "could not find expected ':'": "a key without its colon; look at the line above as well",
}


def _broken(error: yaml.MarkedYAMLError, file_name: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = str(error.problem or error.context)
    message = problem if isinstance(error, _Refused) else f"cannot be read as YAML: {_PLAINER.get(problem, problem)}"
    return Fault(file_name, line, column, "", message)


class _Reader:
    """Turns nodes into values, and notes the places and the faults on its way."""

    def __init__(self, file_name: str) -> None:
        self.file = file_name
        self.values: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.faults: list[Fault] = []

    def read(self, node: yaml.Node, path: Path) -> Json:
        self.values[path] = _place(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Json:
        found: dict[str, Json] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "a key must be a word, not a list or a mapping")
                continue
            key = self._text(key_node, path)
            here = (*path, key)
            if key in found:
                self._complain(key_node, here, f"duplicate key; it is already in line {self.keys[here][0]}")
                continue
            self.keys[here] = _place(key_node)
            found[key] = self.read(value_node, here)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Json:
        if node.style is not None:
            return self._text(node, path)
        try:
            return plain(node.value)
        except ScalarError as error:
            self._complain(node, path, str(error))
            return None

    def _text(self, node: yaml.Node, path: Path) -> str:
        try:  # JSON writes characters beyond U+FFFF as two escapes
            text: str = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeError:
            self._complain(node, path, "text must not contain half a surrogate pair")
            return "?"
        if "\0" in text:
            self._complain(node, path, "text must not contain the character NUL")
        return text

    def _complain(self, node: yaml.Node, path: Path, message: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(self.file, *_place(node), spell(path), message))


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1
