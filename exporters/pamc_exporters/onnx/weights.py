"""weights.bin, the tensors that all task sets share, and its index weights.json.

Where a tensor goes depends on its size:

* under 128 bytes (biases, constants): into each .onnx. A reference to a file takes as many bytes as the tensor, and
  ONNX Runtime reads such tensors into memory anyhow.
* from 64 KiB: at a multiple of 4096, so that a runtime can map its pages instead of reading them; processes and
  task sets then share one copy. Aligning smaller ones too makes a network of 1.7 MB 1.5 % larger.
* between: into the gaps that the alignment leaves, or after the end, at a multiple of 64 for vector loads.

Tensors of equal bytes lie in one place.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc.errors import InternalError, OutputError
from pamc_exporters.onnx.tensors import stored_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = [
    "EMBEDDED_BELOW",
    "INDEX",
    "PAGE",
    "WEIGHTS",
    "Stored",
    "array_at",
    "collect",
    "digest",
    "lay_out",
    "map_weights",
    "read_index",
    "same",
    "write_weights",
]

WEIGHTS = "weights.bin"
INDEX = "weights.json"
FORMAT_VERSION = 2
PAGE = 4096
VECTOR = 64
PAGED_FROM = 16 * PAGE
EMBEDDED_BELOW = 128

CURE = "copy or build the bundle again"

Arrays = Mapping[str, "NDArray[np.generic]"]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies in weights.bin, in bytes, little-endian."""

    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def digest(array: NDArray[np.generic]) -> str:
    """sha256 of a contiguous array's bytes."""
    return hashlib.sha256(array.data).hexdigest()


def same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Whether two arrays are the same tensor, type included."""
    return one.dtype == other.dtype and np.array_equal(one, other)


def collect(plans: Iterable[Plan]) -> dict[str, NDArray[np.generic]]:
    """Every stored tensor of the plans, by name, sorted. Raises InternalError when two plans disagree about one."""
    found: dict[str, NDArray[np.generic]] = {}
    for plan in plans:
        for name, array in stored_tensors(plan).items():
            other = found.setdefault(name, array)
            if other is not array and not np.array_equal(other, array):
                raise InternalError(f"parameter {name} differs between task sets")
    return {name: found[name] for name in sorted(found)}


def _up(offset: int, step: int) -> int:
    return -(-offset // step) * step


def _offsets(sizes: Mapping[str, int]) -> dict[str, int]:
    """A place for each block of bytes, by its digest."""
    offsets: dict[str, int] = {}
    gaps: list[tuple[int, int]] = []
    end = 0
    for name, size in sizes.items():
        if size >= PAGED_FROM:
            gaps.append((_up(end, VECTOR), _up(end, PAGE)))
            offsets[name] = _up(end, PAGE)
            end = offsets[name] + size
            continue
        fits = (position for position, (first, last) in enumerate(gaps) if first + size <= last)
        position = next(fits, None)
        if position is None:
            offsets[name] = _up(end, VECTOR)
            end = offsets[name] + size
        else:
            offsets[name] = gaps[position][0]
            gaps[position] = (_up(offsets[name] + size, VECTOR), gaps[position][1])
    return offsets


def lay_out(weights: Arrays) -> dict[str, Stored]:
    """A place for every tensor that does not belong into the .onnx files."""
    large = {name: digest(array) for name, array in weights.items() if array.nbytes >= EMBEDDED_BELOW}
    by_size = sorted(large, key=lambda name: (-weights[name].nbytes, name))
    offsets = _offsets({large[name]: weights[name].nbytes for name in by_size})
    return {
        name: Stored(offsets[large[name]], array.dtype.name, array.shape)
        for name, array in sorted(weights.items())
        if name in large
    }


def write_weights(weights: Arrays, stored: Mapping[str, Stored], directory: Path) -> tuple[Path, Path]:
    """Write weights.bin and weights.json; return their paths."""
    binary, index = directory / WEIGHTS, directory / INDEX
    places = {place.offset: name for name, place in stored.items()}
    # Never into the old file: a session may have its pages mapped.
    temporary = directory / f".{WEIGHTS}.tmp"
    with temporary.open("wb") as file:
        for offset, name in sorted(places.items()):
            file.write(b"\0" * (offset - file.tell()))
            file.write(weights[name].data)
    temporary.replace(binary)
    tensors = {name: [place.offset, place.dtype, place.shape] for name, place in stored.items()}
    # One tensor a line: the index is a good part of the files of a small network.
    lines = ",\n".join(
        f"{json.dumps(name)}:{json.dumps(tensors[name], separators=(',', ':'))}" for name in sorted(tensors)
    )
    index.write_text(f'{{"format_version":{FORMAT_VERSION},"tensors":{{\n{lines}\n}}}}\n', encoding="utf-8")
    return binary, index


def _place(offset: Any, dtype: Any, shape: Any) -> Stored:
    if offset < 0 or min(shape, default=0) < 0:
        raise ValueError("a negative offset or size")
    return Stored(int(offset), np.dtype(dtype).name, tuple(map(int, shape)))


def read_index(directory: Path) -> dict[str, Stored]:
    """The content of weights.json. Raises OutputError when it is missing or damaged."""
    path = directory / INDEX
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {data['format_version']}, this pamc reads {FORMAT_VERSION}")
        return {name: _place(*item) for name, item in data["tensors"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OutputError(f"the index of the weights cannot be read: {error}", where=str(path), cure=CURE) from error


def map_weights(directory: Path) -> NDArray[np.uint8]:
    """The bytes of weights.bin as a memory map. Raises OutputError when it is missing or empty."""
    path = directory / WEIGHTS
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise OutputError(f"the weights cannot be read: {error}", where=str(path), cure=CURE) from error


def array_at(data: NDArray[np.uint8], place: Stored) -> NDArray[np.generic]:
    """The tensor at a place of mapped weights. Raises OutputError when the file is too short for it."""
    held = data[place.offset : place.offset + place.length]
    if len(held) < place.length:
        raise OutputError(
            f"weights.bin has {len(data)} bytes, a tensor ends at {place.offset + place.length}", cure=CURE
        )
    found: NDArray[np.generic] = held.view(place.dtype).reshape(place.shape)
    return found
