"""A model as the bytes of a .tflite file.

Everything is written once: a buffer, a shape, a table of scales or options, an operator that several task sets have is
one object of the file that all of them refer to. What a task set has for itself are the entries of its tensors, since
names must differ: 28 bytes each.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc import __version__
from pamc.errors import ConfigError
from pamc_exporters.tflite.model import Data, Model, Operator, Options, Quantization, Subgraph, Tensor
from pamc_exporters.tflite.schema import flatbuffers, schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RUNTIME_VERSION", "WEIGHTS", "WEIGHTS_ENTRY", "encode"]

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16
LARGEST = 2**31 - 1
# Bytes of a tensor or an operator, more than enough: room is made once, since growing copies everything.
OBJECT = 256
WEIGHTS = "pamc.weights"
WEIGHTS_ENTRY = struct.Struct("<8sI")
RUNTIME_VERSION = "min_runtime_version"
# The first runtime with several signatures in a file; it knows every operator written here but these. Scales per row of
# a fully connected layer are known to work since the second.
OLDEST_RUNTIME = (2, 7, 0)
NEWER_OPERATORS = {("GELU", 1): (2, 9, 0), ("GELU", 2): (2, 9, 0), ("FULLY_CONNECTED", 4): (2, 14, 0)}
# Field 0 of OperatorCode is one byte; codes that do not fit are marked by this one.
PLACEHOLDER = 127
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _short(number: int) -> str:
    text = ""
    while True:
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
        if not number:
            return text


def _runtime_version(model: Model) -> bytes:
    used = {(operator.code, operator.version) for subgraph in model.subgraphs for operator in subgraph.operators}
    newest = max([OLDEST_RUNTIME, *(NEWER_OPERATORS[code] for code in used & set(NEWER_OPERATORS))])
    return ".".join(map(str, newest)).encode().ljust(16, b"\0")


class _Writer:
    def __init__(self, size: int) -> None:
        self.schema = schema()
        self.builder = flatbuffers().Builder(size)
        self.known: dict[Hashable, int] = {}
        self.buffers: dict[Hashable, int] = {}
        self.codes: dict[tuple[str, int], int] = {}
        self.names = 0

    def vector(self, values: Iterable[Any], dtype: type[np.generic]) -> int:
        array = np.asarray([*values], dtype)
        key = (dtype, array.tobytes())
        if key not in self.known:
            self.known[key] = self.builder.CreateNumpyVector(array)
        return self.known[key]

    def references(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def table(self, name: str, **fields: Any) -> int:
        getattr(self.schema, f"{name}Start")(self.builder)
        for field, value in fields.items():
            if value is not None:
                getattr(self.schema, f"{name}Add{field}")(self.builder, value)
        return int(getattr(self.schema, f"{name}End")(self.builder))

    def data(self, raw: NDArray[np.uint8] | None) -> int:
        if raw is None:
            return self.table("Buffer")
        builder = self.builder
        builder.StartVector(1, raw.size, ALIGNMENT)
        builder.head -= raw.size
        builder.Bytes[builder.head : builder.head + raw.size] = raw.data
        return self.table("Buffer", Data=builder.EndVector())

    def quantization(self, found: Quantization | None) -> int | None:
        if found is not None and found not in self.known:
            # Scale and ZeroPoint come first: a table is written when its vectors are.
            scale, zero = self.vector(found.scales, np.float32), self.vector(found.zeros, np.int64)
            self.known[found] = self.table(
                "QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=found.axis
            )
        return None if found is None else self.known[found]

    def options(self, found: Options | None) -> int | None:
        if found is not None and found not in self.known:
            packed = getattr(self.schema, f"{found.table}T")(**dict(found.fields))
            self.known[found] = packed.Pack(self.builder)
        return None if found is None else self.known[found]

    def tensor(self, tensor: Tensor) -> int:
        name = tensor.name or _short(self.names)
        self.names += not tensor.name
        return self.table(
            "Tensor",
            Shape=self.vector(tensor.shape, np.int32),
            Buffer=0 if tensor.data is None else self.buffers[tensor.data.key],
            Name=self.builder.CreateString(name),
            Quantization=self.quantization(tensor.quantization),
            Type=getattr(self.schema.TensorType, tensor.type),
        )

    def operator(self, operator: Operator) -> int:
        if operator not in self.known:
            table = None if operator.options is None else operator.options.table
            options = self.options(operator.options)
            self.known[operator] = self.table(
                "Operator",
                OpcodeIndex=self.codes.setdefault((operator.code, operator.version), len(self.codes)),
                Inputs=self.vector(operator.inputs, np.int32),
                Outputs=self.vector(operator.outputs, np.int32),
                BuiltinOptions=options,
                BuiltinOptionsType=None if table is None else getattr(self.schema.BuiltinOptions, table),
            )
        return self.known[operator]

    def subgraph(self, subgraph: Subgraph) -> int:
        tensors = self.references([self.tensor(tensor) for tensor in subgraph.tensors])
        operators = self.references([self.operator(operator) for operator in subgraph.operators])
        return self.table(
            "SubGraph",
            Tensors=tensors,
            Inputs=self.vector(subgraph.inputs.values(), np.int32),
            Outputs=self.vector(subgraph.outputs.values(), np.int32),
            Operators=operators,
            Name=self.builder.CreateSharedString(subgraph.name),
        )

    def _named(self, places: Mapping[str, int]) -> int:
        return self.references(
            [
                self.table("TensorMap", Name=self.builder.CreateSharedString(name), TensorIndex=place)
                for name, place in places.items()
            ]
        )

    def signature(self, index: int, subgraph: Subgraph) -> int:
        return self.table(
            "SignatureDef",
            Inputs=self._named(subgraph.inputs),
            Outputs=self._named(subgraph.outputs),
            SignatureKey=self.builder.CreateSharedString(subgraph.name),
            SubgraphIndex=index,
        )

    def operator_code(self, code: str, version: int) -> int:
        number = getattr(self.schema.BuiltinOperator, code)
        deprecated = min(number, PLACEHOLDER)
        return self.table("OperatorCode", DeprecatedBuiltinCode=deprecated, Version=version, BuiltinCode=number)


def encode(model: Model) -> bytes:
    """The file of a model; the same model gives the same bytes. Raises ConfigError above 2 GiB.

    Buffers are aligned to 16 bytes and lie at the end of the file. Tensors without a name get a short one, so that
    all names of a file differ.
    """
    kept: dict[Hashable, Data] = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.data is not None:
                kept.setdefault(tensor.data.key, tensor.data)
    places = {key: index for index, key in enumerate(kept, 1)}
    weights = {name: places[data.key] for name, data in sorted(model.weights.items()) if data.key in places}
    metadata = {
        **model.metadata,
        RUNTIME_VERSION: _runtime_version(model),
        WEIGHTS: b"".join(WEIGHTS_ENTRY.pack(name, place) for name, place in weights.items()),
    }
    stored = [data.array for data in kept.values()]
    stored += [np.frombuffer(text, np.uint8) for _, text in sorted(metadata.items())]
    objects = sum(len(subgraph.tensors) + len(subgraph.operators) for subgraph in model.subgraphs)
    size = sum(array.nbytes + 2 * ALIGNMENT for array in stored) + OBJECT * objects + (1 << 16)
    if size > LARGEST:
        raise ConfigError(f"the networks take {size} bytes, and a .tflite file can hold 2 GiB", cure="write ONNX")
    writer = _Writer(size)
    writer.buffers = places
    buffers = writer.references([writer.data(array) for array in (None, *stored)])
    subgraphs = writer.references([writer.subgraph(subgraph) for subgraph in model.subgraphs])
    signatures = writer.references([writer.signature(*item) for item in enumerate(model.subgraphs)])
    codes = writer.references([writer.operator_code(*code) for code in writer.codes])
    entries = writer.references(
        [
            writer.table("Metadata", Name=writer.builder.CreateString(name), Buffer=len(kept) + 1 + index)
            for index, name in enumerate(sorted(metadata))
        ]
    )
    root = writer.table(
        "Model",
        Version=SCHEMA_VERSION,
        OperatorCodes=codes,
        Subgraphs=subgraphs,
        Description=writer.builder.CreateString(f"pamc {__version__}"),
        Buffers=buffers,
        Metadata=entries,
        SignatureDefs=signatures,
    )
    writer.builder.Finish(root, IDENTIFIER)
    return bytes(writer.builder.Output())
