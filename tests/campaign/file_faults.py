"""Faults that exist in files alone: shifted offsets, windows that begin elsewhere, files of another build."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from pamc.lower import Plan
from pamc_exporters.tflite.decode import decode
from pamc_exporters.tflite.encode import encode
from pamc_exporters.tflite.model import Data, Model, Subgraph, Tensor
from tests.campaign.building import Build
from tests.campaign.cases import plans_of

__all__ = ["FILE_FAULTS"]

# Changes the files of a folder; False where there is nothing to change.
Fault = Callable[[Build, Path, np.random.Generator], bool]
SHIFTS = (-64, -4, 4, 64)
DRIFT = 0.01


def _pick(numbers: np.random.Generator, count: int) -> int:
    return int(numbers.integers(count))


def _retrained(build: Build, numbers: np.random.Generator) -> Mapping[str, Plan]:
    """The plans of a build whose network was trained on: every parameter a hundredth away."""
    params = build.net.graph.params
    drifted = {key: array * (1 + DRIFT * numbers.standard_normal(array.shape)) for key, array in params.items()}
    net = build.net.with_params({key: array.astype(params[key].dtype) for key, array in drifted.items()})
    return plans_of(net, build.target, build.numerics)


def _stale(build: Build, folder: Path, numbers: np.random.Generator) -> bool:
    """The file of weights (of TFLite the only file) is that of another build."""
    other = folder.with_name(f"{folder.name}-other")
    build.write(other, _retrained(build, numbers))
    name = {"onnx": "weights.bin", "tflite": "model.tflite"}[build.format]
    if (folder / name).read_bytes() == (other / name).read_bytes():
        return False
    shutil.copyfile(other / name, folder / name)
    return True


def _edit_onnx(
    folder: Path, numbers: np.random.Generator, edit: Callable[[onnx.ModelProto, np.random.Generator], bool]
) -> bool:
    paths = sorted(folder.glob("*.onnx"))
    path = paths[_pick(numbers, len(paths))]
    model = onnx.load(path, load_external_data=False)
    if not edit(model, numbers):
        return False
    path.write_bytes(model.SerializeToString(deterministic=True))
    return True


def _shift_onnx(build: Build, folder: Path, numbers: np.random.Generator) -> bool:
    size = (folder / "weights.bin").stat().st_size

    def edit(model: onnx.ModelProto, numbers: np.random.Generator) -> bool:
        places = []
        for tensor in model.graph.initializer:
            held = {item.key: item for item in tensor.external_data}
            for shift in SHIFTS if held else ():
                start = int(held["offset"].value) + shift
                if start >= 0 and start + int(held["length"].value) <= size:
                    places.append((held["offset"], start))
        if places:
            item, start = places[_pick(numbers, len(places))]
            item.value = str(start)
        return bool(places)

    return _edit_onnx(folder, numbers, edit)


def _pad_onnx(build: Build, folder: Path, numbers: np.random.Generator) -> bool:
    def edit(model: onnx.ModelProto, numbers: np.random.Generator) -> bool:
        places = [
            (attribute.ints, axis)
            for node in model.graph.node
            for attribute in node.attribute
            if attribute.name == "pads"
            for axis in (0, 1)
            if attribute.ints[axis] > 0
        ]
        if places:
            pads, axis = places[_pick(numbers, len(places))]
            pads[axis] -= 1
            pads[axis + 2] += 1
        return bool(places)

    return _edit_onnx(folder, numbers, edit)


def _edit_tflite(
    folder: Path, numbers: np.random.Generator, options: Callable[[Subgraph], list[tuple[int, Tensor]]]
) -> bool:
    """Put one of the changed tensors into one of the subgraphs."""
    path = folder / "model.tflite"
    model: Model = decode(path.read_bytes())
    found = [(place, *option) for place, subgraph in enumerate(model.subgraphs) for option in options(subgraph)]
    if not found:
        return False
    place, index, tensor = found[_pick(numbers, len(found))]
    tensors = list(model.subgraphs[place].tensors)
    tensors[index] = tensor
    subgraphs = list(model.subgraphs)
    subgraphs[place] = replace(subgraphs[place], tensors=tuple(tensors))
    path.write_bytes(encode(replace(model, subgraphs=tuple(subgraphs))))
    return True


def _shift_tflite(build: Build, folder: Path, numbers: np.random.Generator) -> bool:
    # Buffers have no offsets into each other: what a shifted one would hold is its own bytes, moved on.
    def options(subgraph: Subgraph) -> list[tuple[int, Tensor]]:
        return [
            (index, replace(tensor, data=Data.of(np.roll(tensor.data.array, shift))))
            for index, tensor in enumerate(subgraph.tensors)
            if tensor.data is not None and tensor.type in ("FLOAT32", "FLOAT16", "INT8") and len(tensor.data.array) > 4
            for shift in SHIFTS
        ]

    return _edit_tflite(folder, numbers, options)


def _pad_tflite(build: Build, folder: Path, numbers: np.random.Generator) -> bool:
    def options(subgraph: Subgraph) -> list[tuple[int, Tensor]]:
        found = []
        for operator in subgraph.operators:
            tensor = subgraph.tensors[operator.inputs[1]] if operator.code in ("PAD", "PADV2") else None
            if tensor is not None and tensor.data is not None:
                pads = tensor.data.array.view(np.int32).reshape(tensor.shape)
                for axis in np.flatnonzero(pads[:, 0] > 0):
                    moved = pads.copy()
                    moved[axis] += (-1, 1)
                    found.append((operator.inputs[1], replace(tensor, data=Data.of(moved))))
        return found

    return _edit_tflite(folder, numbers, options)


def _rescale_tflite(build: Build, folder: Path, numbers: np.random.Generator) -> bool:
    def options(subgraph: Subgraph) -> list[tuple[int, Tensor]]:
        found = []
        for index, tensor in enumerate(subgraph.tensors):
            held = tensor.quantization
            if tensor.data is not None and held is not None and tensor.type == "INT8":
                for row in range(len(held.scales)):
                    scales = [scale * (1.25 if place == row else 1) for place, scale in enumerate(held.scales)]
                    found.append((index, replace(tensor, quantization=replace(held, scales=tuple(scales)))))
        return found

    return _edit_tflite(folder, numbers, options)


FILE_FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "onnx": {
        "weights of another build": _stale,
        "a shifted offset": _shift_onnx,
        "a window begins elsewhere": _pad_onnx,
    },
    "tflite": {
        "weights of another build": _stale,
        "a shifted offset": _shift_tflite,
        "a window begins elsewhere": _pad_tflite,
        "scale of a row, in the file": _rescale_tflite,
    },
}
