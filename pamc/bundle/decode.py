"""Dataclasses from plain JSON values, strictly: nothing missing, nothing unknown, nothing of another type."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["Damage", "decode"]


class Damage(ValueError):
    """A value does not fit; the message begins with its path."""


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def _scalar(kind: type, data: object, path: str) -> object:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if type(data) is not kind:
        raise Damage(f"{path} is {type(data).__name__}, should be {_name(kind)}")
    if isinstance(data, float) and not math.isfinite(data):
        raise Damage(f"{path} is not a finite number")
    return data


def _record(kind: Any, data: object, path: str) -> object:
    if not isinstance(data, dict):
        raise Damage(f"{path} is {type(data).__name__}, should be an object")
    hints = _hints(kind)
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(data) - set(known)):
        raise Damage(f"{path} has unknown keys {unknown}")
    if missing := sorted(name for name, field in known.items() if name not in data and field.default is MISSING):
        raise Damage(f"{path} lacks {missing}")
    return kind(**{name: decode(hints[name], value, f"{path}.{name}") for name, value in data.items()})


def decode(kind: Any, data: object, path: str) -> Any:
    """``data`` as a value of the type ``kind``: a dataclass, mapping from str, tuple, optional, scalar or ``object``.

    Raises Damage, naming the place by ``path``.
    """
    if kind is object:
        return data
    if is_dataclass(kind):
        return _record(kind, data, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        if data is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return decode(kind, data, path)
    if origin is tuple:
        if not isinstance(data, list):
            raise Damage(f"{path} is {type(data).__name__}, should be a list")
        if arguments[0] is int and set(map(type, data)) <= {int}:
            # Results of benchmarks hold millions of times.
            return tuple(data)
        return tuple(decode(arguments[0], item, f"{path}[{position}]") for position, item in enumerate(data))
    if origin is Mapping:
        if not isinstance(data, dict):
            raise Damage(f"{path} is {type(data).__name__}, should be an object")
        return {key: decode(arguments[1], item, f"{path}.{key}") for key, item in data.items()}
    return _scalar(kind, data, path)
