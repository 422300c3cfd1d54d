"""Named functions with typed options: how merge methods, pruners and their like are found."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, TypeVar

from pamc.errors import ConfigError, InternalError, Problem

__all__ = [
    "Entry",
    "NoOptions",
    "Registry",
    "did_you_mean",
    "import_methods",
    "method_names",
    "option_problems",
    "options_schema",
    "read_options",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Options of a function that has none."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[F]):
    """A registered function; `options` is the frozen dataclass that its options are parsed into."""

    name: str
    function: F
    options: type[Any]
    summary: str


class Registry(Generic[F]):
    """Functions of one kind (for messages, such as "merge method") by name, in order of registration."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[F]] = {}

    def register(self, name: str, *, options: type[Any] = NoOptions, summary: str | None = None) -> Callable[[F], F]:
        """Decorator: add a function; the summary defaults to the first line of its docstring."""
        if name in self._entries:
            raise InternalError(f"{self.kind} '{name}' is registered twice")
        if not is_dataclass(options):
            raise InternalError(f"options of {self.kind} '{name}' must be a dataclass, not {options!r}")

        def add(function: F) -> F:
            text = summary if summary is not None else (function.__doc__ or "").strip().partition("\n")[0]
            self._entries[name] = Entry(name, function, options, text)
            return function

        return add

    def names(self) -> tuple[str, ...]:
        """Registered names."""
        return tuple(self._entries)

    def __iter__(self) -> Iterator[Entry[F]]:
        return iter(self._entries.values())

    def get(self, name: str) -> Entry[F]:
        """The entry called `name`; ConfigError with the nearest name when there is none."""
        try:
            return self._entries[name]
        except KeyError:
            raise ConfigError(
                f"unknown {self.kind} '{name}'{did_you_mean(name, self.names())}",
                cure=f"use one of: {', '.join(self.names())}",
            ) from None

    def parse_options(self, name: str, values: Mapping[str, object]) -> Any:
        """The options of `name` from plain values; ConfigError with every unknown key and wrong value."""
        return read_options(f"{self.kind} '{name}'", self.get(name).options, values)

    def check_options(self, name: str, values: Mapping[str, object]) -> list[tuple[str, str]]:
        """(key, message) of everything wrong with `values`; the key is "" when no single one is at fault."""
        return option_problems(f"{self.kind} '{name}'", self.get(name).options, values)


def read_options(what: str, options: type[Any], values: Mapping[str, object]) -> Any:
    """The dataclass `options` of `what` (for messages) from plain values; ConfigError with everything wrong."""
    problems = option_problems(what, options, values)
    if problems:
        raise ConfigError.many([Problem(message, where=key or None) for key, message in problems])
    return _adapter(options).validate_json(json.dumps(dict(values)), strict=True)


def option_problems(what: str, options: type[Any], values: Mapping[str, object]) -> list[tuple[str, str]]:
    """(key, message) of everything wrong with `values`; the key is "" when no single one is at fault."""
    from pydantic import ValidationError

    known = tuple(field.name for field in fields(options) if field.init)
    problems = [(key, f"{what} has no option '{key}'{did_you_mean(key, known)}") for key in values if key not in known]
    given = {key: value for key, value in values.items() if key in known}
    try:
        # Through JSON: strict there still takes a list for a tuple, as a YAML file must be able to write one.
        text = json.dumps(given, allow_nan=False)
        _adapter(options).validate_json(text, strict=True)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            place = ".".join(map(str, item["loc"]))
            key = str(item["loc"][0]) if item["loc"] else ""
            subject = f"option '{place}' of" if place else "options of"
            problems.append((key, f"{subject} {what}: {_plain(item['msg'])}"))
    except (TypeError, ValueError) as error:
        problems.append(("", f"options of {what} must be plain finite values: {error}"))
    return problems


def options_schema(options: type[Any]) -> dict[str, Any]:
    """The JSON schema of the dataclass `options`, which takes no other keys."""
    return {**_adapter(options).json_schema(), "additionalProperties": False}


def method_names(section: str) -> tuple[str, ...]:
    """Names of the methods of a section, `merge` or `prune`, without importing them, which takes seconds.

    The file `pam_lattice.py` holds the method `pam-lattice`.
    """
    # Late, as it takes milliseconds that a bundle's first inference would wait for.
    from importlib.resources import files

    entries = files("pamc").joinpath(section, "methods").iterdir()
    stems = sorted(entry.name.removesuffix(".py") for entry in entries if entry.name.endswith(".py"))
    return tuple(stem.replace("_", "-") for stem in stems if stem != "__init__")


def import_methods(section: str) -> None:
    """Import all methods of a section, so that they register themselves."""
    for name in method_names(section):
        import_module(f"pamc.{section}.methods.{name.replace('-', '_')}")


def did_you_mean(word: str, known: tuple[str, ...] | list[str]) -> str:
    """`, did you mean 'x'?` for the nearest known word, or nothing."""
    folded = {item.lower(): item for item in known}
    near = get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f", did you mean '{folded[near[0]]}'?" if near else ""


def _adapter(options: type[Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(options)


def _plain(message: str) -> str:
    # pydantic writes "Input should be ..." and prefixes messages of __post_init__ with "Value error, ".
    message = message.removeprefix("Value error, ")
    return message.replace("Input should be", "must be", 1).replace("a valid array", "a list", 1)
