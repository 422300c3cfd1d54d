"""Reads a YAML file into plain values, with the line and column of every key and value, under limits."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from pamc.errors import ConfigError

__all__ = ["Document", "KeyPath", "Mark", "read_yaml"]

KeyPath = tuple[str | int, ...]
Mark = tuple[int, int]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 10_000

_CORE = "tag:yaml.org,2002:"
_SCALARS = {_CORE + kind for kind in ("null", "bool", "int", "float", "str")}
_BALANCE = "check the brackets, quotes and indentation before this place"


@dataclass(frozen=True, slots=True)
class Document:
    """The plain value of a file, and the mark (line and column, from 1) of every key and value."""

    path: Path
    value: object
    keys: Mapping[KeyPath, Mark]
    values: Mapping[KeyPath, Mark]
    problems: tuple[tuple[Mark, str], ...]

    def mark(self, at: KeyPath, *, key: bool = False) -> Mark:
        """Where the value at `at` (or its key) stands; of what is missing, the key of the nearest part around it."""
        if not key and at in self.values:
            return self.values[at]
        for end in range(len(at), -1, -1):
            found = self.keys.get(at[:end]) or self.values.get(at[:end])
            if found is not None:
                return found
        return 1, 1

    def where(self, mark: Mark) -> str:
        """`file:line:column`."""
        return _where(self.path, *mark)


def read_yaml(path: Path) -> Document:
    """The document in `path`; ConfigError where it cannot be read, parsed, or is beyond the limits.

    Problems that leave a value (duplicate keys, keys that are not text, dates, tags) are in `problems`.
    """
    text = _read(path)
    yaml = YAML(typ="safe", pure=True)
    try:
        _check_limits(path, yaml.parse(text))
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise ConfigError(f"not valid YAML: {what}", where=_where(path, *place), cure=_BALANCE) from None
    except YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=str(path), cure=_BALANCE) from None
    if root is None:
        raise ConfigError("the file is empty", where=str(path), cure="start with the keys name, tasks and data")
    return _Builder(path, yaml.constructor).build(root)


def _where(path: Path, line: int, column: int) -> str:
    return f"{path}:{line}:{column}"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=str(path), cure="name your project's model.yaml") from None
    except IsADirectoryError:
        raise ConfigError("is a folder, not a file", where=str(path), cure="name the model.yaml in it") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES} bytes, the limit for this file", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text", where=f"{path}:{line}", cure="save the file as UTF-8") from None


def _check_limits(path: Path, events: Iterator[Any]) -> None:
    # On events, before anything is built: a few lines of aliases could else grow to gigabytes.
    depth = nodes = 0
    for event in events:
        what = None
        if isinstance(event, AliasEvent):
            what = f"aliases (*{event.anchor}) are not allowed here; write the value out"
        elif isinstance(event, NodeEvent):
            nodes += 1
            depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
            if nodes > MAX_NODES:
                what = f"more than {MAX_NODES} values, the limit for this file"
            elif depth > MAX_DEPTH:
                what = f"nested more than {MAX_DEPTH} levels deep, the limit for this file"
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        if what is not None:
            raise ConfigError(what, where=_where(path, event.start_mark.line + 1, event.start_mark.column + 1))


class _Builder:
    """Turns composed nodes into plain values and remembers where each stood."""

    def __init__(self, path: Path, scalars: Any) -> None:
        self._path = path
        self._scalars = scalars
        self._keys: dict[KeyPath, Mark] = {}
        self._values: dict[KeyPath, Mark] = {}
        self._problems: list[tuple[Mark, str]] = []

    def build(self, root: object) -> Document:
        value = self._value(root, ())
        return Document(self._path, value, self._keys, self._values, tuple(self._problems))

    def _value(self, node: Any, at: KeyPath) -> object:
        if node.start_mark.index != node.end_mark.index or not at:
            # The mark of a value that is not there is that of whatever comes next.
            self._values[at] = _place(node)
        if isinstance(node, MappingNode):
            if _tag(node) != _CORE + "map":
                self._complain(node, f"the tag {_tag(node)} is not allowed here")
            return self._mapping(node, at)
        if isinstance(node, SequenceNode):
            if _tag(node) != _CORE + "seq":
                self._complain(node, f"the tag {_tag(node)} is not allowed here")
            return [self._value(item, (*at, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: Any, at: KeyPath) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._complain(key_node, "a key must be plain text")
                continue
            if _tag(key_node) not in (_CORE + "str", _CORE + "merge"):
                self._complain(key_node, f"the key {key_node.value!r} is not text; put it in quotes")
            key = str(key_node.value)
            if key in result:
                first = self._keys[(*at, key)][0]
                self._complain(key_node, f"duplicate key '{key}', already given in line {first}")
                continue
            self._keys[(*at, key)] = _place(key_node)
            result[key] = self._value(value_node, (*at, key))
        return result

    def _scalar(self, node: Any) -> object:
        tag = _tag(node)
        if tag not in _SCALARS:
            kind = tag.removeprefix(_CORE)
            self._complain(node, f"a value of kind '{kind}' is not allowed here; put {node.value!r} in quotes")
            return str(node.value)
        try:
            value: object = self._scalars.construct_object(node)
        except (ValueError, OverflowError, YAMLError):
            self._complain(node, f"{node.value[:40]!r} cannot be read as {tag.removeprefix(_CORE)}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._complain(node, f"{node.value} is not a finite number")
            return None
        return value

    def _complain(self, node: Any, what: str) -> None:
        self._problems.append((_place(node), what))


def _place(node: Any) -> Mark:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _tag(node: Any) -> str:
    return str(node.tag)
