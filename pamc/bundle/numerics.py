"""numerics.json: how the numbers of a bundle's files are stored and computed (:class:`pamc.lower.Numerics`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pamc.bundle.decode import Damage, decode
from pamc.errors import OutputError
from pamc.lower.numerics import KINDS, Numerics

__all__ = ["NUMERICS", "from_json", "to_json"]

NUMERICS = "numerics.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class _File:
    format_version: int
    kind: str
    ranges: Mapping[str, tuple[float, ...]]
    shifts: Mapping[str, tuple[float, ...]]


def to_json(numerics: Numerics) -> str:
    """The text of numerics.json, the same for the same numerics."""
    data = {
        "format_version": FORMAT_VERSION,
        "kind": numerics.kind,
        "ranges": {name: list(bounds) for name, bounds in sorted(numerics.ranges.items())},
        "shifts": {name: list(shift) for name, shift in sorted(numerics.shifts.items())},
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Numerics:
    """The inverse of :func:`to_json`. Raises OutputError for another format version and for damage."""
    try:
        data: _File = decode(_File, json.loads(text), "numerics")
        if data.format_version != FORMAT_VERSION:
            raise Damage(f"numerics has format version {data.format_version}, this pamc reads {FORMAT_VERSION}")
        if data.kind not in KINDS:
            raise Damage(f"numerics.kind is {data.kind!r}, should be one of {', '.join(KINDS)}")
        ranges = {}
        for name, bounds in data.ranges.items():
            if len(bounds) != 2 or not bounds[0] <= 0 <= bounds[1]:
                raise Damage(f"numerics.ranges.{name} is no range around 0")
            ranges[name] = (bounds[0], bounds[1])
        return Numerics(data.kind, ranges, dict(data.shifts))
    except (ValueError, RecursionError) as error:
        raise OutputError(
            f"the numerics cannot be read: {error}",
            where=NUMERICS,
            why="the bundle is damaged, or made by another version of pamc",
            cure="copy or build it again",
        ) from error
