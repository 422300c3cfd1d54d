"""Some task sets of a written folder as a folder of their own, with only the weights that they need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pamc.errors import OutputError
from pamc_exporters.onnx.reading import external_tensors, file_slice
from pamc_exporters.onnx.weights import array_at, lay_out, map_weights, read_index, write_weights

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["slice_weights"]


def slice_weights(source: Path, models: Mapping[str, ModelProto], target: Path) -> tuple[Path, Path]:
    """Write the weights of ``models`` into ``target`` and make the models refer to them; return the files written.

    The models change in place. Raises OutputError when weights.bin or weights.json is missing or damaged.
    """
    needed = {file_slice(tensor) for model in models.values() for tensor in external_tensors(model)}
    index = {name: place for name, place in read_index(source).items() if (place.offset, place.length) in needed}
    if lost := needed - {(place.offset, place.length) for place in index.values()}:
        raise OutputError(
            f"the index of the weights does not list the bytes from {min(lost)[0]}",
            where=str(source),
            cure="copy or build the bundle again",
        )
    data = map_weights(source)
    weights = {name: array_at(data, place) for name, place in index.items()}
    stored = lay_out(weights)
    moved = {index[name].offset: stored[name].offset for name in index}
    for model in models.values():
        for tensor in external_tensors(model):
            for item in tensor.external_data:
                if item.key == "offset":
                    item.value = str(moved[int(item.value)])
    return write_weights(weights, stored, target)
