"""What a .tflite file says, as values: tensors, operators, one subgraph and signature per task set."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Data", "Model", "Operator", "Options", "Quantization", "Subgraph", "Tensor", "digest"]

TYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int8": "INT8", "uint8": "UINT8", "int32": "INT32"}


def digest(name: str) -> bytes:
    """8 bytes that stand for a name."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class Data:
    """The bytes of a constant. Equal where ``key`` is: a digest of the bytes, or their place in one file."""

    key: Hashable
    array: NDArray[np.uint8] = field(compare=False, repr=False)

    @classmethod
    def of(cls, array: NDArray[Any]) -> Data:
        """The bytes of an array, little-endian."""
        raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        return cls(hashlib.sha256(raw.data).digest(), raw)


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = (stored - zero) * scale, with one scale and zero for all, or one per place along ``axis``."""

    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """``type`` is a key of TensorType; ``data`` is None for values, ``name`` is empty where any will do."""

    shape: tuple[int, ...]
    type: str = "FLOAT32"
    data: Data | None = None
    quantization: Quantization | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """Attributes of an operator: a table of the schema such as ``Conv2DOptions`` and its fields that are not 0."""

    table: str
    fields: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, table: str, fields: Mapping[str, Any]) -> Options:
        """Equal for tables of equal content."""
        return cls(table, tuple(sorted((name, value) for name, value in fields.items() if value)))


@dataclass(frozen=True, slots=True)
class Operator:
    """``code`` is a key of BuiltinOperator; inputs and outputs are places in the subgraph's tensors."""

    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None = None


@dataclass(frozen=True)
class Subgraph:
    """One task set and its signature: ``inputs`` and ``outputs`` map names to places in ``tensors``, in order."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class Model:
    """A whole file. ``weights`` maps the digest of a parameter's name to what is stored of it."""

    subgraphs: tuple[Subgraph, ...]
    metadata: Mapping[str, bytes]
    weights: Mapping[bytes, Data]
