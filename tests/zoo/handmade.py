"""Graphs written node by node, for tests that need a certain wiring and no export."""

from __future__ import annotations

import numpy as np

from pamc.graph import Graph, Node, verify
from pamc.graph.ir import frozen_array
from pamc.graph.ops import (
    IN,
    OUT,
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Input,
    Linear,
    Mul,
    Op,
)

__all__ = ["Maker"]


class Maker:
    """Adds nodes with random weights; every method returns the name of its value."""

    def __init__(self, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[Node] = [Node("input", Input(shape))]
        self.params: dict[str, np.ndarray] = {}

    def add(self, name: str, op: Op, *inputs: str, units: int | None = None, bias: bool = True) -> str:
        """A node; parameters along units have `units` entries, those along inputs what they read."""
        widths = Graph(tuple(self.nodes), {}, self.params).shapes
        read = widths[inputs[0]][0]
        sizes = {OUT: read if units is None else units, IN: read}
        keys = {}
        for role, axes in op.param_axes.items():
            if role == "bias" and not bias:
                continue
            free = [1, *op.kernel] if isinstance(op, DepthwiseConv) else list(getattr(op, "kernel", ()))
            shape = [sizes[axis] if axis in sizes else free.pop(0) for axis in axes]
            values = self.generator.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
            keys[role] = f"{name}.{role}"
            self.params[keys[role]] = frozen_array((abs(values) + 0.5 if role == "var" else values).astype(np.float32))
        self.nodes.append(Node(name, op, inputs, keys))
        return name

    def conv(self, name: str, source: str, units: int, kernel: int = 3, *, bias: bool = True) -> str:
        return self.add(name, Conv((kernel, kernel), padding=(kernel // 2,) * 2), source, units=units, bias=bias)

    def depthwise(self, name: str, source: str) -> str:
        return self.add(name, DepthwiseConv((3, 3), padding=(1, 1)), source)

    def norm(self, name: str, source: str) -> str:
        return self.add(name, BatchNorm(), source)

    def relu(self, name: str, source: str) -> str:
        return self.add(name, Activation("relu"), source)

    def join(self, name: str, left: str, right: str) -> str:
        return self.add(name, Add(), left, right)

    def gate(self, name: str, left: str, right: str) -> str:
        return self.add(name, Mul(), left, right)

    def concat(self, name: str, *parts: str) -> str:
        return self.add(name, Concat(), *parts)

    def flatten(self, name: str, source: str) -> str:
        return self.add(name, Flatten(), source)

    def end(self, task: str, source: str, classes: int = 3) -> Graph:
        """Global pooling and a linear head; the finished graph."""
        pooled = self.add("pool", GlobalAvgPool(), source)
        head = self.add("head", Linear(), self.flatten("flatten", pooled), units=classes)
        return verify(Graph(tuple(self.nodes), {task: head}, self.params), "the test")
