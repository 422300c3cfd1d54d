"""Models as they were written: their tensors in weights.bin, found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pamc.errors import OutputError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

__all__ = ["external_tensors", "file_slice", "properties", "read_model"]


def read_model(path: Path) -> ModelProto:
    """The model in a file, without the weights that lie beside it. Raises OutputError when it cannot be read."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise OutputError(
            f"the ONNX network cannot be read: {error}", where=str(path), cure="copy or build the bundle again"
        ) from error


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """The model's tensors that lie in weights.bin."""
    for tensor in model.graph.initializer:
        if tensor.external_data:
            yield tensor


def file_slice(tensor: TensorProto) -> tuple[int, int]:
    """Offset and length in bytes of a tensor in weights.bin."""
    found = {item.key: item.value for item in tensor.external_data}
    return int(found["offset"]), int(found["length"])


def properties(model: ModelProto) -> dict[str, str]:
    """The model's metadata."""
    return {item.key: item.value for item in model.metadata_props}
