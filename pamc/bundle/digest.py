"""Digests of what a stage of a build reads: two different inputs never hash alike by accident of concatenation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pamc.errors import ConfigError, InternalError

__all__ = ["code_version", "digest"]


def _file_parts(path: Path) -> list[bytes]:
    try:
        if path.is_dir():
            inside = sorted(item for item in path.rglob("*") if item.is_file())
            return [part for item in inside for part in (str(item.relative_to(path)).encode(), item.read_bytes())]
        return [path.read_bytes()]
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _parts(value: Any) -> tuple[str, list[bytes]]:
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", [bytes(value)]
    if isinstance(value, str):
        return "str", [value.encode("utf-8", "surrogatepass")]
    if isinstance(value, Path):
        return "dir" if value.is_dir() else "file", _file_parts(value)
    if isinstance(value, np.ndarray):
        return "array", [value.dtype.str.encode(), repr(value.shape).encode(), np.ascontiguousarray(value).tobytes()]
    if is_dataclass(value) and not isinstance(value, type):
        named = [part for item in fields(value) for part in (item.name, getattr(value, item.name))]
        return "record", [type(value).__qualname__.encode(), *(digest(part).encode() for part in named)]
    if isinstance(value, tuple):
        return "tuple", [digest(item).encode() for item in value]
    try:
        return "json", [json.dumps(value, sort_keys=True, separators=(",", ":")).encode()]
    except (TypeError, ValueError) as error:
        raise InternalError(f"cannot take a digest of {type(value).__name__}: {error}") from error


def digest(*parts: object) -> str:
    """sha256 (hex) of bytes, strings, arrays, frozen dataclasses, tuples, JSON values, and files or folders by content.

    Types and lengths go into it, so ``digest("ab", "c") != digest("a", "bc")`` and ``digest("1") != digest(1)``.
    """
    total = hashlib.sha256()
    for value in parts:
        tag, pieces = _parts(value)
        total.update(f"{tag}:{len(pieces)};".encode())
        for piece in pieces:
            total.update(f"{len(piece)}:".encode())
            total.update(piece)
    return total.hexdigest()


@cache
def code_version() -> str:
    """Digest of pamc's own sources and data files, so that a changed pamc does not use stale results."""
    root = Path(__file__).resolve().parents[1]
    found = sorted(path for path in root.rglob("*") if path.suffix in {".py", ".yaml"})
    return digest(*(part for path in found for part in (path.relative_to(root).as_posix(), path)))
