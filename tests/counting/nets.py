"""A bundle of networks whose multiplications are known: a pointwise convolution and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array
from safetensors.numpy import save_file

from benchmarks.suites.bare import bare_bundle
from pamc.bundle import VECTORS, Bundle, file_entry
from pamc.bundle.manifest import Amounts, TaskSetEntry

__all__ = ["MACS", "TASKS", "theory_bundle"]

CHANNELS, HEIGHT, WIDTH = 64, 8, 16
POSITIONS = HEIGHT * WIDTH
MACS = CHANNELS * CHANNELS * POSITIONS
"""Of the networks of theory; a multiple of all widths of kernels. ``branches`` has many small kernels."""
SHAPES = {
    "pointwise": (CHANNELS, HEIGHT, WIDTH),
    "matmul": (CHANNELS, CHANNELS),
    "int8": (CHANNELS, CHANNELS),
    "branches": (10,),
}
TASKS = tuple(SHAPES)


def _nodes(task: str) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    rng = np.random.default_rng(0)
    if task == "pointwise":
        weight = rng.standard_normal((CHANNELS, CHANNELS, 1, 1)).astype(np.float32)
        return [make_node("Conv", ["input", "w"], [task], "conv")], {"w": weight}
    if task == "branches":
        return _branches(rng)
    flat = make_node("Reshape", ["input", "shape"], ["rows"], "reshape")
    shape = np.array([1, CHANNELS, POSITIONS], np.int64)
    if task == "matmul":
        weight = rng.standard_normal((POSITIONS, CHANNELS)).astype(np.float32)
        return [flat, make_node("MatMul", ["rows", "w"], [task], "product")], {"shape": shape, "w": weight}
    nodes = [
        flat,
        make_node("QuantizeLinear", ["rows", "scale", "zero"], ["eight"], "quantize"),
        make_node("MatMulInteger", ["eight", "w"], ["sums"], "product"),
        make_node("Cast", ["sums"], [task], "cast", to=TensorProto.FLOAT),
    ]
    weight = rng.integers(-127, 127, (POSITIONS, CHANNELS), np.int8)
    constants = {"shape": shape, "w": weight, "scale": np.array(0.03, np.float32), "zero": np.array(0, np.int8)}
    return nodes, constants


def _branches(rng: np.random.Generator) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    nodes, constants = [], {}
    widths = range(3, 11)
    for width in widths:
        constants[f"w{width}"] = rng.standard_normal((width, CHANNELS, 1, 1)).astype(np.float32)
        nodes += [
            make_node("Conv", ["input", f"w{width}"], [f"c{width}"], f"conv{width}"),
            make_node("Relu", [f"c{width}"], [f"r{width}"]),
            make_node("MaxPool", [f"r{width}"], [f"p{width}"], kernel_shape=[2, 2], strides=[2, 2]),
            make_node("Flatten", [f"p{width}"], [f"f{width}"]),
        ]
    constants["w"] = rng.standard_normal((sum(widths) * POSITIONS // 4, 10)).astype(np.float32)
    nodes += [
        make_node("Concat", [f"f{width}" for width in widths], ["all"], axis=1),
        make_node("Gemm", ["all", "w"], ["branches"]),
    ]
    return nodes, constants


def _write(task: str, path: Path) -> None:
    nodes, constants = _nodes(task)
    given = make_tensor_value_info("input", TensorProto.FLOAT, [1, CHANNELS, HEIGHT, WIDTH])
    made = make_tensor_value_info(task, TensorProto.FLOAT, [1, *SHAPES[task]])
    initializers = [from_array(value, name) for name, value in constants.items()]
    graph = make_graph(nodes, task, [given], [made], initializers)
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8), path)


def theory_bundle(folder: Path, tasks: Sequence[str] = TASKS) -> Bundle:
    """A bundle of ``tasks`` in the new ``folder``, each a task set of its own."""
    (folder / "onnx").mkdir(parents=True)
    x = np.random.default_rng(1).standard_normal((2, CHANNELS, HEIGHT, WIDTH)).astype(np.float32)
    vectors, entries, files = {"input": x}, {}, {}
    for task in tasks:
        path = folder / "onnx" / f"{task}.onnx"
        _write(task, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        vectors[f"output:{task}"] = np.concatenate([session.run(None, {"input": row[None]})[0] for row in x])
        files[f"onnx/{task}.onnx"] = file_entry(path)
        bytes_ = {"onnx": path.stat().st_size}
        amounts = Amounts(MACS, None, MACS), Amounts(1, None, 1)
        entries[task] = TaskSetEntry(True, *amounts, bytes_, {}, (f"onnx/{task}.onnx",))
    save_file(vectors, folder / VECTORS)
    shapes = {task: SHAPES[task] for task in tasks}
    return bare_bundle(folder, "theory", "arm64", (CHANNELS, HEIGHT, WIDTH), shapes, entries, files)
