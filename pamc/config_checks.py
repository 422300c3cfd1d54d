"""Finds everything wrong with a model.yaml at once, each problem with its place and a suggestion."""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pamc.config_yaml import Document, KeyPath, Mark
from pamc.errors import ConfigError, Problem
from pamc.export import exporters, find_exporter
from pamc.registry import Registry, did_you_mean, method_names

__all__ = ["Checker", "merge_methods", "prune_methods"]

M = TypeVar("M", bound=BaseModel)

_PICKLED = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".pt2"}
_CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "s = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
    'save_file({k: v.clone().contiguous() for k, v in s.items()}, sys.argv[2])" {old} {new}'
)
_PLAIN_WORDS = (
    (r"^\w+ should", "must"),
    ("a valid dictionary", "a mapping"),
    ("a valid integer", "a whole number"),
    ("a valid (string|boolean|number|list)", r"a \1"),
    ("a string", "text"),
    ("a boolean", "true or false"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
)
_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")


def merge_methods() -> Registry[Any]:
    """The registered merge methods; imports them, which is slow."""
    from pamc.merge import METHODS

    methods: Registry[Any] = METHODS
    return methods


def prune_methods() -> Registry[Any]:
    """The registered pruners; imports them, which is slow."""
    from pamc.prune import METHODS

    methods: Registry[Any] = METHODS
    return methods


class Checker:
    """Collects the problems of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._problems: dict[Mark, list[Problem]] = {}
        for mark, what in document.problems:
            self._problems.setdefault(mark, []).append(Problem(what, where=document.where(mark)))
        self._broken = frozenset(self._problems)
        self._meant: set[KeyPath] = set()
        self._names: dict[Path, frozenset[str] | None] = {}

    def add(
        self, at: KeyPath, what: str, *, key: bool = False, why: str | None = None, cure: str | None = None
    ) -> None:
        """Note a problem with the value (or key) at `at`."""
        mark = self.document.mark(at, key=key)
        # A value that YAML itself refused was replaced by a stand-in: do not complain about that as well.
        if mark not in self._broken:
            self._problems.setdefault(mark, []).append(Problem(what, self.document.where(mark), why, cure))

    def missing(self, at: KeyPath, cure: str | None = None) -> None:
        """Note that a key is missing, unless a misspelt one that was meant to be it is a problem already."""
        if at not in self._meant:
            inside = f" in {_name(at[:-1])}" if at[:-1] else ""
            self.add(at, f"the key '{at[-1]}' is missing{inside}", cure=cure)

    def raise_if_any(self) -> None:
        """ConfigError with all problems in the order of the file, if there are any."""
        if self._problems:
            raise ConfigError.many([p for mark in sorted(self._problems) for p in self._problems[mark]])

    def model(self, kind: type[M], raw: object, at: KeyPath) -> M | None:
        """`raw` as a `kind`, or None after noting every problem."""
        if not isinstance(raw, dict):
            shown = "nothing" if raw is None else _shown(raw)
            self.add(at, f"{_name(at)} must be a mapping, not {shown}", cure=f"its keys are: {_keys(kind)}")
            return None
        clean = self.unknown_keys(kind, raw, at)
        try:
            return kind.model_validate(raw)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                if item["type"] != "extra_forbidden":
                    self._report(item, kind, at)
                    clean = False
        if clean:
            self.add(at, f"{_name(at)} cannot be read")
        return None

    def unknown_keys(
        self, kind: type[BaseModel], raw: dict[str, object], at: KeyPath, others: Sequence[str] = ()
    ) -> bool:
        """Note every key of `raw`, at any depth, that is neither one of `kind` nor of `others`; whether none was."""
        clean = True
        known = [*kind.model_fields, *others]
        for key, value in raw.items():
            field = kind.model_fields.get(key)
            if field is None and key not in others:
                inside = f" in {_name(at)}" if at else ""
                hint = did_you_mean(key, known)
                self._meant.update((*at, name) for name in known if f"'{name}'" in hint)
                cure = None if hint else f"known keys: {', '.join(known)}"
                self.add((*at, key), f"unknown key '{key}'{inside}{hint}", key=True, cure=cure)
                clean = False
            elif field is not None:
                nested = _nested_model(field.annotation)
                if nested is not None and isinstance(value, dict):
                    clean = self.unknown_keys(nested, value, (*at, key)) and clean
        return clean

    def _report(self, item: Any, model: type[BaseModel], at: KeyPath) -> None:
        place: KeyPath = (*at, *item["loc"])
        kind, context = item["type"], item.get("ctx", {})
        if kind == "missing":
            self.missing(place, _written(model, item["loc"]))
            return
        value = item["input"]
        name = _name(place)
        if kind == "literal_error":
            options = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
            hint = did_you_mean(value, options) if isinstance(value, str) else ""
            self.add(place, f"{name} must be {' or '.join(options)}, not {_shown(value)}{hint}")
        elif kind == "string_pattern_mismatch":
            self.add(place, f"{name} must start with a letter and hold only letters, digits, - and _: {_shown(value)}")
        elif value is None:
            self.add(place, f"{name} has no value")
        else:
            self.add(place, f"{name} {_plain(item['msg'])}, not {_shown(value)}")

    def method(self, methods: Callable[[], Registry[Any]], section: str, entry: object, default: str) -> None:
        """Check the name and options of the method that a section chooses, as far as they are of the right type."""
        if not isinstance(entry, dict):
            return
        name, options = entry.get("method", default), entry.get("options", {})
        # Accepted by its name alone: the import of the methods, and with them of torch, takes seconds.
        if not isinstance(name, str) or (name in method_names(section) and not options):
            return
        registry = methods()
        try:
            known = {field.name for field in fields(registry.get(name).options)}
        except ConfigError as error:
            self.add((section, "method"), error.what, cure=error.cure)
            return
        unnamed = f"'{name}' is what is used where none is named; name the one you mean: {section}: {{method: ...}}"
        for key, what in registry.check_options(name, options) if isinstance(options, dict) else ():
            unknown = key not in known
            cure = unnamed if unknown and "method" not in entry else None
            self.add((section, "options", *([key] if key else [])), what, key=unknown, cure=cure)

    def exporters(self, emit: Sequence[str]) -> None:
        """Check the names of export formats."""
        known = exporters()
        for index, name in enumerate(emit):
            at = ("emit", index)
            if not known:
                self.add(at, "no exporters are installed", cure="install pamc as a package: pip install -e .")
                return
            if name not in known:
                cure = f"use one of: {', '.join(known)}"
                self.add(at, f"unknown export format '{name}'{did_you_mean(name, known)}", cure=cure)
            elif name in emit[:index]:
                self.add(at, f"export format '{name}' is given twice")

    def format_options(self, name: str, entry: object) -> dict[str, object]:
        """The options of an export format, as they are written, after noting everything wrong with them."""
        if not isinstance(entry, dict):
            self.add((name,), f"options of format '{name}' must be a mapping", cure=f"{name}: {{option: value}}")
            return {}
        try:
            find_exporter(name).parse_options(entry)
        except ConfigError as error:
            for problem in error.problems:
                key = problem.where
                self.add((name, *([key] if key else [])), problem.what, key=True, cure=problem.cure)
        return entry

    def function(self, text: str, at: KeyPath) -> None:
        """Check that "file.py:function" names an existing file that defines the function. It is not run."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            self.add(at, f'{_name(at)} must be written "file.py:function", not {_shown(text)}')
            return
        path, function = self.reference(text)
        if not path.is_file():
            self._missing(path, match["file"], at)
            return
        names = self._defined(path, at)
        if names is not None and function not in names:
            hint = did_you_mean(function, sorted(names))
            self.add(at, f"{match['file']} defines no '{function}'{hint}")

    def reference(self, text: str) -> tuple[Path, str]:
        """The absolute file and the function of "file.py:function"."""
        file, _, function = text.rpartition(":")
        return self.resolve(file), function

    def weights(self, text: str, at: KeyPath) -> None:
        """Check that `text` names an existing safetensors file."""
        path = self.resolve(text)
        if path.suffix.lower() in _PICKLED:
            new = str(Path(text).with_suffix(".safetensors"))
            convert = _CONVERT.replace("{old}", text).replace("{new}", new)
            self.add(
                at,
                f"{text} is a pickle, and pamc reads weights from safetensors files only",
                why="opening a pickle can run any code that its author put in",
                cure=f"if you trust it, convert its state dict once: {convert}",
            )
        elif path.suffix.lower() != ".safetensors":
            self.add(at, f"{_name(at)} must be a .safetensors file, not {_shown(text)}")
        elif not path.is_file():
            self._missing(path, text, at)

    def resolve(self, text: str) -> Path:
        """The absolute path of a path that is relative to the document."""
        return self.document.path.resolve().parent / Path(text).expanduser()

    def _missing(self, path: Path, text: str, at: KeyPath) -> None:
        folder = path.parent
        near = [p.name for p in folder.iterdir() if p.suffix == path.suffix] if folder.is_dir() else []
        hint = did_you_mean(path.name, near)
        self.add(at, f"there is no file {text} in the folder of {self.document.path.name}{hint}")

    def _defined(self, path: Path, at: KeyPath) -> frozenset[str] | None:
        # Every name bound anywhere in the file: never wrong about a name that is there, however it is defined.
        if path not in self._names:
            try:
                tree = ast.parse(path.read_bytes(), str(path))
            except (SyntaxError, ValueError) as error:
                line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
                reason = error.msg if isinstance(error, SyntaxError) else str(error)
                self.add(at, f"{path.name}{line} is not valid Python: {reason}")
                self._names[path] = None
            except OSError as error:
                self.add(at, f"{path.name} cannot be read: {error.strerror}")
                self._names[path] = None
            else:
                self._names[path] = _bound_names(tree)
        return self._names[path]


def _bound_names(tree: ast.Module) -> frozenset[str] | None:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                return None
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


def _plain(message: str) -> str:
    for pattern, words in _PLAIN_WORDS:
        message = re.sub(pattern, words, message)
    return message


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_nested_model, get_args(annotation))), None)
    return None


def _name(at: KeyPath) -> str:
    return "the file" if not at else "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in at).lstrip(".")


def _written(kind: type[BaseModel], at: KeyPath) -> str | None:
    """A required key as it may be written: its choices, or what it is for."""
    key, *rest = at
    field = kind.model_fields[str(key)]
    nested = _nested_model(field.annotation)
    if rest:
        return None if nested is None else _written(nested, tuple(rest))
    choices = [str(choice) for choice in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    value = f"one of {', '.join(choices)}" if choices else field.description
    return f"{key}: {value}" if value else None


def _keys(kind: type[BaseModel]) -> str:
    return ", ".join(kind.model_fields)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
