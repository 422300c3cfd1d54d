"""weights.bin, the tensors that all task sets share, and its index weights.json.

Where a tensor goes depends on its size:

* under 128 bytes (biases, constants): into each .onnx. A reference to a file takes as many bytes as the tensor, and
  ONNX Runtime reads such tensors into memory anyhow.
* from 16 KiB: at a multiple of 4096, so that a runtime can map its pages instead of reading them; processes and
  task sets then share one copy. Aligning smaller ones too would make the file of a LeNet 2 to 3 % larger.
* between: into the gaps that the alignment leaves, or after the end, at a multiple of 64 for vector loads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import InternalError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = ["INDEX", "PAGE", "WEIGHTS", "Stored", "collect", "lay_out", "read_index", "write_weights"]

WEIGHTS = "weights.bin"
INDEX = "weights.json"
FORMAT_VERSION = 1
PAGE = 4096
VECTOR = 64
PAGED_FROM = 4 * PAGE
EMBEDDED_BELOW = 128

Weights = Mapping[str, "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a parameter lies in weights.bin, in bytes, as little-endian float32; ``sha256`` of those bytes."""

    offset: int
    length: int
    shape: tuple[int, ...]
    sha256: str


def as_stored(array: NDArray[np.floating]) -> NDArray[np.float32]:
    """A parameter as it is written."""
    return np.ascontiguousarray(array, dtype="<f4")


def collect(plans: Iterable[Plan]) -> dict[str, NDArray[np.float32]]:
    """Every parameter of the plans, by name, sorted. Raises InternalError when two plans disagree about one."""
    found: dict[str, NDArray[np.floating]] = {}
    for plan in plans:
        for name, array in plan.graph.params.items():
            other = found.setdefault(name, array)
            if other is not array and not np.array_equal(other, array):
                raise InternalError(f"parameter {name} differs between task sets")
    return {name: as_stored(found[name]) for name in sorted(found)}


def _up(offset: int, step: int) -> int:
    return -(-offset // step) * step


def lay_out(weights: Weights) -> dict[str, Stored]:
    """A place for every parameter that does not belong into the .onnx files."""
    by_size = sorted(weights, key=lambda name: (-weights[name].nbytes, name))
    offsets: dict[str, int] = {}
    gaps: list[tuple[int, int]] = []
    end = 0
    for name in by_size:
        size = weights[name].nbytes
        if size >= PAGED_FROM:
            gaps.append((_up(end, VECTOR), _up(end, PAGE)))
            offsets[name] = _up(end, PAGE)
            end = offsets[name] + size
        elif size >= EMBEDDED_BELOW:
            fits = (position for position, (first, last) in enumerate(gaps) if first + size <= last)
            position = next(fits, None)
            if position is None:
                offsets[name] = _up(end, VECTOR)
                end = offsets[name] + size
            else:
                offsets[name] = gaps[position][0]
                gaps[position] = (_up(offsets[name] + size, VECTOR), gaps[position][1])
    return {
        name: Stored(
            offsets[name], weights[name].nbytes, weights[name].shape, hashlib.sha256(weights[name].data).hexdigest()
        )
        for name in sorted(offsets)
    }


def write_weights(weights: Weights, stored: Mapping[str, Stored], directory: Path) -> tuple[Path, Path]:
    """Write weights.bin and weights.json; return their paths."""
    binary, index = directory / WEIGHTS, directory / INDEX
    # Never into the old file: a session may have its pages mapped.
    temporary = directory / f".{WEIGHTS}.tmp"
    with temporary.open("wb") as file:
        for name, place in sorted(stored.items(), key=lambda item: item[1].offset):
            file.write(b"\0" * (place.offset - file.tell()))
            file.write(weights[name].data)
    temporary.replace(binary)
    data = {"format_version": FORMAT_VERSION, "tensors": {name: asdict(place) for name, place in stored.items()}}
    index.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return binary, index


def read_index(directory: Path) -> dict[str, Stored]:
    """The content of weights.json. Raises OutputError when it is missing or damaged."""
    path = directory / INDEX
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {data['format_version']}, this pamc reads {FORMAT_VERSION}")
        return {
            name: Stored(int(item["offset"]), int(item["length"]), tuple(map(int, item["shape"])), str(item["sha256"]))
            for name, item in data["tensors"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(
            f"the index of the weights cannot be read: {error}", where=str(path), cure="copy or build the bundle again"
        ) from error
