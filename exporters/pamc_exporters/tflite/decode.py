"""A .tflite file of pamc as a model, whole or only some of its task sets."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from functools import cache
from mmap import mmap
from typing import Any

import numpy as np

from pamc_exporters.tflite.encode import RUNTIME_VERSION, WEIGHTS, WEIGHTS_ENTRY
from pamc_exporters.tflite.model import Data, Model, Operator, Options, Quantization, Subgraph, Tensor
from pamc_exporters.tflite.schema import schema

__all__ = ["decode", "task_sets"]

# What reading a damaged file ends in, with the readers that the schema's compiler makes.
_DAMAGE = (struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError)


@cache
def _names(enumeration: str) -> dict[int, str]:
    kind = getattr(schema(), enumeration)
    return {number: name for name, number in vars(kind).items() if isinstance(number, int)}


def _each(read: Callable[[int], Any], count: int) -> list[Any]:
    return [read(index) for index in range(count)]


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode()


class _Reader:
    def __init__(self, data: bytes | mmap) -> None:
        self.schema = schema()
        if data[4:8] != b"TFL3":
            raise ValueError("it is not a .tflite file")
        self.root = self.schema.Model.GetRootAs(data)
        self.codes = _each(self.root.OperatorCodes, self.root.OperatorCodesLength())
        self.held: dict[int, Data] = {}

    def data(self, index: int) -> Data:
        if index not in self.held:
            if not 0 <= index < self.root.BuffersLength():
                raise ValueError(f"there is no buffer {index}")
            array = self.root.Buffers(index).DataAsNumpy()
            self.held[index] = Data(index, array if isinstance(array, np.ndarray) else np.zeros(0, np.uint8))
        return self.held[index]

    def _quantization(self, found: Any) -> Quantization | None:
        if found is None or found.ScaleLength() == 0:
            return None
        scales, zeros = found.ScaleAsNumpy(), found.ZeroPointAsNumpy()
        return Quantization(tuple(scales.tolist()), tuple(zeros.tolist()), found.QuantizedDimension())

    def _tensor(self, tensor: Any, named: bool) -> Tensor:
        return Tensor(
            shape=tuple(tensor.ShapeAsNumpy().tolist()) if tensor.ShapeLength() else (),
            type=_names("TensorType")[tensor.Type()],
            data=self.data(tensor.Buffer()) if tensor.Buffer() else None,
            quantization=self._quantization(tensor.Quantization()),
            name=_text(tensor.Name()) if named else "",
        )

    def _options(self, operator: Any) -> Options | None:
        kind = operator.BuiltinOptionsType()
        if not kind:
            return None
        unpacked = self.schema.BuiltinOptionsCreator(kind, operator.BuiltinOptions())
        fields = {
            name: tuple(value.tolist()) if isinstance(value, np.ndarray) else value
            for name, value in vars(unpacked).items()
        }
        return Options.of(_names("BuiltinOptions")[kind], fields)

    def _operator(self, operator: Any) -> Operator:
        code = self.codes[operator.OpcodeIndex()]
        return Operator(
            code=_names("BuiltinOperator")[code.BuiltinCode()],
            version=code.Version(),
            inputs=tuple(operator.InputsAsNumpy().tolist()),
            outputs=tuple(operator.OutputsAsNumpy().tolist()),
            options=self._options(operator),
        )

    def signatures(self) -> dict[str, Any]:
        found = _each(self.root.SignatureDefs, self.root.SignatureDefsLength())
        return {_text(signature.SignatureKey()): signature for signature in found}

    def subgraph(self, name: str, signature: Any) -> Subgraph:
        found = self.root.Subgraphs(signature.SubgraphIndex())
        inputs = _each(signature.Inputs, signature.InputsLength())
        outputs = _each(signature.Outputs, signature.OutputsLength())
        ends = {item.TensorIndex() for item in (*inputs, *outputs)}
        tensors = _each(found.Tensors, found.TensorsLength())
        operators = _each(found.Operators, found.OperatorsLength())
        return Subgraph(
            name=name,
            tensors=tuple(self._tensor(tensor, index in ends) for index, tensor in enumerate(tensors)),
            operators=tuple(map(self._operator, operators)),
            inputs={_text(item.Name()): item.TensorIndex() for item in inputs},
            outputs={_text(item.Name()): item.TensorIndex() for item in outputs},
        )

    def metadata(self) -> dict[str, bytes]:
        found = _each(self.root.Metadata, self.root.MetadataLength())
        return {_text(item.Name()): self.data(item.Buffer()).array.tobytes() for item in found}

    def model(self, wanted: Collection[str] | None) -> Model:
        metadata = self.metadata()
        del metadata[RUNTIME_VERSION]
        weights = {name: self.data(place) for name, place in WEIGHTS_ENTRY.iter_unpack(metadata.pop(WEIGHTS))}
        chosen = {name: found for name, found in self.signatures().items() if wanted is None or name in wanted}
        return Model(tuple(self.subgraph(*item) for item in chosen.items()), metadata, weights)


def decode(data: bytes | mmap, wanted: Collection[str] | None = None) -> Model:
    """The model in a file that pamc wrote, or only those of the task sets ``wanted`` that it has, in its order.

    Arrays are views into ``data``. Raises ValueError for a damaged file and for one that pamc did not write.
    """
    try:
        return _Reader(data).model(wanted)
    except _DAMAGE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def task_sets(data: bytes | mmap) -> tuple[str, ...]:
    """The task sets in a file, in its order. Raises ValueError for a damaged file."""
    try:
        return tuple(_Reader(data).signatures())
    except _DAMAGE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
