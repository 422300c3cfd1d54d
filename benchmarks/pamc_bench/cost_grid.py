"""Small networks over a grid of shapes, whose times tell what operations take."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pamc.graph import Graph, Node
from pamc.graph.ir import frozen_array
from pamc.graph.ops import (
    Activation,
    Add,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Input,
    Linear,
    MaxPool,
    Op,
)

__all__ = ["cost_grid"]

COPIES = 4
MOST_MACS = 40_000_000
# Small maps under many channels, where reading the weights takes longer than computing.
HEAVY = ((512, 512), (256, 512), (512, 64), (256, 256), (512, 256))


class _Sketch:
    def __init__(self, channels: int, size: int) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes = [Node("x", Input((channels, size, size)))]
        self.params: dict[str, NDArray[np.floating]] = {}

    def add(self, op: Op, *inputs: str, **shapes: tuple[int, ...]) -> str:
        name = f"{op.kind}{len(self.nodes)}"
        for role, shape in shapes.items():
            values = self.rng.standard_normal(shape) / max(1, math.prod(shape[1:])) ** 0.5
            self.params[f"{name}.{role}"] = frozen_array(values.astype(np.float32))
        self.nodes.append(Node(name, op, inputs, {role: f"{name}.{role}" for role in shapes}))
        return name

    def conv(self, x: str, read: int, units: int, kernel: int) -> str:
        op = Conv((kernel, kernel), padding=(kernel // 2, kernel // 2))
        return self.add(op, x, weight=(units, read, kernel, kernel), bias=(units,))

    def finish(self, *values: str) -> Graph:
        pooled = [self.add(GlobalAvgPool(), value) for value in values]
        return Graph(tuple(self.nodes), {f"y{i}": value for i, value in enumerate(pooled)}, self.params)


def _convolutions(size: int, read: int, units: int, kernel: int) -> Graph:
    sketch = _Sketch(16, size)
    value = sketch.conv("x", 16, read, 1)
    return sketch.finish(*(sketch.conv(value, read, units, kernel) for _ in range(COPIES)))


def _first_layers(size: int, read: int, units: int, kernel: int) -> Graph:
    sketch = _Sketch(read, size)
    return sketch.finish(*(sketch.conv("x", read, units, kernel) for _ in range(COPIES)))


def _concatenations(size: int, units: int, parts: int) -> Graph:
    sketch = _Sketch(16, size)
    pieces = [sketch.conv("x", 16, units, 1) for _ in range(parts)]
    # In another order each time: runtimes join equal operations.
    joined = [sketch.add(Concat(), *pieces[i:], *pieces[:i]) for i in range(min(parts, COPIES))]
    return sketch.finish(*joined)


def _sums(size: int, units: int) -> Graph:
    sketch = _Sketch(16, size)
    value = sketch.conv("x", 16, units, 1)
    for _ in range(COPIES):
        value = sketch.add(Add(), value, sketch.conv(value, units, units, 1))
        value = sketch.add(Activation("relu"), value)
    return sketch.finish(value)


def _chain(size: int, units: int, kind: str) -> Graph:
    sketch = _Sketch(16, size)
    value = sketch.conv("x", 16, units, 1)
    for _ in range(COPIES):
        match kind:
            case "depthwise":
                op = DepthwiseConv((3, 3), padding=(1, 1))
                value = sketch.add(op, value, weight=(units, 1, 3, 3), bias=(units,))
            case "pool":
                value = sketch.add(MaxPool((3, 3), padding=(1, 1)), value)
            case _:
                value = sketch.add(Activation("sigmoid"), value)
    return sketch.finish(value)


def _linear(read: int, units: int) -> Graph:
    sketch = _Sketch(read, 1)
    value = sketch.add(Flatten(), "x")
    ends = [sketch.add(Linear(), value, weight=(units, read), bias=(units,)) for _ in range(COPIES)]
    return Graph(tuple(sketch.nodes), {f"y{i}": value for i, value in enumerate(ends)}, sketch.params)


def cost_grid(quick: bool = False) -> Iterator[tuple[str, Graph]]:
    """Networks to time, by name: convolutions of kernel 1 and 3, joins, sums, poolings, linear layers."""
    sizes = (14, 4) if quick else (56, 28, 14, 8, 7, 4, 2)
    channels = (16, 64) if quick else (16, 64, 128)
    for size in sizes:
        for kernel in (1, 3):
            for read in channels:
                for units in (16, 32, 48, 64) if quick else (16, 32, 48, 64, 80, 128):
                    if size**2 * kernel**2 * read * units <= MOST_MACS:
                        yield f"conv {kernel} {read} {units} {size}", _convolutions(size, read, units, kernel)
        for units in (16, 64):
            yield f"concat {units} {size}", _concatenations(size, units, 4)
            yield f"add {units} {size}", _sums(size, units)
            for kind in ("depthwise", "pool", "sigmoid"):
                yield f"{kind} {units} {size}", _chain(size, units, kind)
    for size in (14,) if quick else (56, 28):
        for read, units, kernel in ((1, 8, 5), (3, 16, 3), (3, 64, 3), (3, 32, 7), (8, 8, 3)):
            yield f"first {kernel} {read} {units} {size}", _first_layers(size, read, units, kernel)
    for size in (7, 4, 2):
        for read, units in HEAVY[:1] if quick else HEAVY:
            yield f"conv 3 {read} {units} {size}", _convolutions(size, read, units, 3)
    for read, units in ((64, 16), (256, 64), (512, 256)):
        yield f"linear {read} {units}", _linear(read, units)
