"""Small multitask networks for tests: written by hand, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pamc.graph import Graph, MultitaskGraph, Node, verify_multitask
from pamc.graph.ir import frozen_array
from pamc.graph.ops import (
    Activation,
    Add,
    AvgPool,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    Input,
    Linear,
    MaxPool,
    Mul,
    Op,
    PRelu,
    Softmax,
    Unflatten,
)

ACTIVATIONS = (
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
    "silu",
    "hardswish",
    "hardsigmoid",
    "leaky_relu",
    "elu",
    "gelu",
)
ALPHA = {"leaky_relu": 0.1, "elu": 0.8}
TASKS = ("age", "smile", "pose")


class Sketch:
    """Builds a graph node by node; every method returns the new value's name."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0, dtype: str = "float32") -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = [Node("x", Input(shape, dtype))]
        self.params: dict[str, np.ndarray] = {}
        self.last = "x"

    def node(self, kind: str, op: Op, inputs: Sequence[str], **arrays: np.ndarray | None) -> str:
        name = f"{kind}{sum(node.name.startswith(kind) for node in self.nodes)}"
        held = {role: array for role, array in arrays.items() if array is not None}
        self.params |= {f"{name}.{role}": frozen_array(array.astype(np.float32)) for role, array in held.items()}
        self.nodes.append(Node(name, op, tuple(inputs), {role: f"{name}.{role}" for role in held}))
        self.last = name
        return name

    def shape(self, value: str) -> tuple[int, ...]:
        return Graph(tuple(self.nodes), {}, self.params).shapes[value]

    def normal(self, *shape: int, fan: int = 1) -> np.ndarray:
        return self.rng.standard_normal(shape) / np.sqrt(fan)

    def conv(self, x: str, units: int, kernel: int = 3, bias: bool = True, **attributes: tuple[int, int]) -> str:
        read = self.shape(x)[0]
        attributes.setdefault("padding", (kernel // 2, kernel // 2))
        op = Conv((kernel, kernel), **attributes)
        weight = self.normal(units, read, kernel, kernel, fan=read * kernel * kernel // 2 + 1)
        return self.node("conv", op, [x], weight=weight, bias=self.normal(units) if bias else None)

    def depthwise(self, x: str, bias: bool = True, stride: int = 1) -> str:
        channels = self.shape(x)[0]
        op = DepthwiseConv((3, 3), (stride, stride), (1, 1))
        bias_array = self.normal(channels) if bias else None
        return self.node("dw", op, [x], weight=self.normal(channels, 1, 3, 3, fan=4), bias=bias_array)

    def linear(self, x: str, units: int, kind: str = "fc", bias: bool = True) -> str:
        read = self.shape(x)[0]
        weight = self.normal(units, read, fan=read // 2 + 1)
        return self.node(kind, Linear(), [x], weight=weight, bias=self.normal(units) if bias else None)

    def act(self, x: str, function: str = "relu") -> str:
        return self.node("act", Activation(function, ALPHA.get(function, 0.0)), [x])

    def batch_norm(self, x: str) -> str:
        channels = self.shape(x)[0]
        gamma, beta, mean = (self.normal(channels) for _ in range(3))
        return self.node(
            "bn", BatchNorm(), [x], gamma=gamma + 1, beta=beta, mean=mean, var=self.rng.uniform(0.5, 2, channels)
        )

    def prelu(self, x: str) -> str:
        return self.node("prelu", PRelu(), [x], slope=self.normal(self.shape(x)[0]))

    def affine(self, x: str, frozen: bool = False) -> str:
        channels = self.shape(x)[0]
        return self.node("affine", ChannelAffine(frozen), [x], scale=self.normal(channels), shift=self.normal(channels))

    def plain(self, kind: str, op: Op, *inputs: str) -> str:
        return self.node(kind, op, inputs)

    def finish(
        self,
        outputs: Mapping[str, str],
        owners: Mapping[str, Sequence[int]] | Callable[[str, int], np.ndarray],
    ) -> MultitaskGraph:
        """Owners by space, or drawn by a function of (space, units); the ends' owners are filled in."""
        tasks = tuple(outputs)
        graph = Graph(tuple(self.nodes), outputs, self.params)
        everyone = (1 << len(tasks)) - 1
        ends = {graph.spaces.space_of("x"): everyone}
        for bit, value in enumerate(outputs.values()):
            ends |= {segment.space: 1 << bit for segment in graph.spaces.layouts[value]}
        held = {}
        for space, units in graph.spaces.sizes.items():
            if space in ends:
                held[space] = np.full(units, ends[space], dtype=np.uint32)
            elif callable(owners):
                held[space] = owners(space, units)
            else:
                held[space] = np.asarray(owners.get(space, [everyone] * units), dtype=np.uint32)
        return verify_multitask(MultitaskGraph(tasks, graph, held).with_params({}), "building a test network")


def two_task_net() -> MultitaskGraph:
    """conv, pool, conv, linear: the smallest network with shared and exclusive groups in every layer."""
    sketch = Sketch((1, 12, 12), seed=1)
    for units in (6, 7):
        sketch.act(sketch.conv(sketch.last, units))
        sketch.plain("pool", MaxPool((2, 2), (2, 2)), sketch.last)
    hidden = sketch.act(sketch.linear(sketch.plain("flat", Flatten(), sketch.last), 9))
    outputs = {"age": sketch.linear(hidden, 4), "smile": sketch.linear(hidden, 2)}
    owners = {"conv0": [1, 3, 3, 2, 2, 1], "conv1": [3, 3, 1, 1, 2, 2, 0], "fc0": [3, 1, 2] * 3}
    return sketch.finish(outputs, owners)


def three_task_net(width: int = 16) -> MultitaskGraph:
    """Like :func:`two_task_net`, with three tasks, all seven groups, and wide enough for aligned tensors."""
    sketch = Sketch((1, 12, 12), seed=2)
    for units in (width, 2 * width):
        sketch.act(sketch.conv(sketch.last, units))
        sketch.plain("pool", MaxPool((2, 2), (2, 2)), sketch.last)
    hidden = sketch.act(sketch.linear(sketch.plain("flat", Flatten(), sketch.last), 4 * width))
    outputs = {task: sketch.linear(hidden, 3) for task in TASKS}
    return sketch.finish(outputs, lambda _, units: np.arange(units, dtype=np.uint32) % 7 + 1)


def _trunk_step(sketch: Sketch, choice: int, function: str) -> None:
    rng, x = sketch.rng, sketch.last
    channels, height, _ = sketch.shape(x)
    units = int(rng.integers(4, 9))
    match choice:
        case 0:
            stride = int(rng.integers(1, 3)) if height > 6 else 1
            sketch.act(sketch.conv(x, units, stride=(stride, stride), bias=bool(rng.integers(2))), function)
        case 1:
            normed = sketch.batch_norm(sketch.conv(x, units, dilation=(2, 1), padding=(2, 1), bias=False))
            sketch.prelu(normed) if function in ("gelu", "elu", "leaky_relu") else sketch.act(normed, function)
        case 2:
            inner = sketch.act(sketch.batch_norm(sketch.conv(x, units)), function)
            back = sketch.batch_norm(sketch.conv(inner, channels, bias=False))
            skip = x if rng.integers(2) else sketch.conv(x, channels, kernel=1)
            sketch.act(sketch.plain("add", Add(), back, skip), function)
        case 3:
            sketch.act(sketch.depthwise(sketch.conv(x, units, kernel=1), stride=1 + int(height > 8)), function)
        case 4:
            left, right = sketch.conv(x, units, kernel=1), sketch.act(sketch.conv(x, units + 1), function)
            joined = sketch.plain("cat", Concat(), left, right)
            sketch.act(sketch.batch_norm(joined) if rng.integers(2) else sketch.affine(joined), function)
        case 5:
            pooled = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), x))
            hidden = sketch.act(sketch.linear(pooled, 5), function)
            gate = sketch.act(sketch.linear(hidden, channels), "sigmoid")
            sketch.plain("mul", Mul(), x, sketch.plain("unflat", Unflatten(), gate))
        case 6:
            ceil, padding = bool(rng.integers(2)), int(rng.integers(2))
            sketch.plain("max", MaxPool((3, 3) if padding else (2, 2), (2, 2), (padding, padding), ceil), x)
        case 7:
            sketch.plain("avg", AvgPool((3, 3), (2, 2), (1, 1), count_include_pad=bool(rng.integers(2))), x)
        case 8:
            sketch.plain("cat", Concat(), x, sketch.act(sketch.conv(x, 4), function))


def random_net(seed: int) -> MultitaskGraph:
    """One to three tasks; residual, depthwise, concatenated and gated blocks; random owners.

    Every space keeps one unit for each task and one for all, so that every group has something to read.
    """
    rng = np.random.default_rng(seed)
    raw = seed % 4 == 0
    sketch = Sketch((int(rng.choice([1, 3])), int(rng.integers(11, 18)), 13), seed, "uint8" if raw else "float32")
    sketch.affine("x", frozen=True)
    sketch.act(sketch.conv(sketch.last, 6))
    for step in range(4):
        if min(sketch.shape(sketch.last)[1:]) < 4:
            break
        # The gated block ties its channels to one layer, which a concatenation has two of.
        joined = len(Graph(tuple(sketch.nodes), {}, sketch.params).spaces.layouts[sketch.last]) > 1
        choice = 0 if joined else (seed + 2 * step) % 9
        _trunk_step(sketch, choice, ACTIVATIONS[(seed + step) % len(ACTIVATIONS)])
    if rng.integers(2):
        sketch.plain("gap", GlobalAvgPool(), sketch.last)
    flat = sketch.plain("flat", Flatten(), sketch.last)
    hidden = sketch.act(sketch.linear(flat, 8), ACTIVATIONS[seed % len(ACTIVATIONS)])
    tasks = TASKS[: 1 + seed % 3]
    outputs = {}
    for task in tasks:
        head = sketch.linear(hidden, int(rng.integers(1, 6)), bias=bool(rng.integers(2)))
        outputs[task] = sketch.plain("soft", Softmax(log=task != TASKS[0]), head) if rng.integers(3) == 0 else head
    everyone = (1 << len(tasks)) - 1

    def draw(_: str, units: int) -> np.ndarray:
        vector = rng.integers(0, everyone + 1, units).astype(np.uint32)
        vector[0] = everyone
        vector[1 : 1 + min(len(tasks), units - 1)] = [1 << bit for bit in range(min(len(tasks), units - 1))]
        return rng.permutation(vector)

    return sketch.finish(outputs, draw)


def batch(net: MultitaskGraph, count: int, seed: int = 0) -> np.ndarray:
    """Inputs for a network: normal float32 values or raw pixels."""
    rng = np.random.default_rng(seed)
    source = net.graph.input.op
    assert isinstance(source, Input)
    if source.dtype == "uint8":
        return rng.integers(0, 256, (count, *source.shape), dtype=np.uint8)
    return rng.standard_normal((count, *source.shape)).astype(np.float32)
