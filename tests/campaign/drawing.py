"""Multitask networks drawn at random: every operation, many shapes, owners of any pattern that the read rule allows."""

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
    Shape,
    Softmax,
    Unflatten,
)
from tests.campaign.choices import Choices

__all__ = ["TASKS", "draw_network"]

TASKS = ("age", "smile", "pose", "hat")
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 24, 31, 32, 48, 64)
FUNCTIONS = ("relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "leaky_relu", "elu", "gelu")
MOST_LINKS = 1 << 16


class Drawer:
    """A graph that grows by drawn steps. Values are known by name; the last one made is ``last``."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.numbers = np.random.default_rng(choices.seed())
        self.nodes: list[Node] = []
        self.params: dict[str, np.ndarray] = {}
        self.shapes: dict[str, Shape] = {}
        # Units and repetitions of each value's segments: two values can be tied when theirs are equal.
        self.layouts: dict[str, tuple[tuple[int, int], ...]] = {}

    def add(self, op: Op, *inputs: str, **arrays: np.ndarray | None) -> str:
        """One node with the given parameters by role; its value's name."""
        name = f"{op.kind}{len(self.nodes)}"
        held = {role: frozen_array(array.astype(np.float32)) for role, array in arrays.items() if array is not None}
        self.params |= {f"{name}.{role}": array for role, array in held.items()}
        self.nodes.append(Node(name, op, inputs, {role: f"{name}.{role}" for role in held}))
        units = len(next(iter(held.values()))) if held else None
        self.shapes[name] = op.out_shape([self.shapes[value] for value in inputs], units)
        self.layouts[name] = self._layout(name, op, inputs)
        return name

    def _layout(self, name: str, op: Op, inputs: Sequence[str]) -> tuple[tuple[int, int], ...]:
        if isinstance(op, Input | Conv | Linear):
            return ((self.shapes[name][0], 1),)
        if isinstance(op, Concat):
            return tuple(part for value in inputs for part in self.layouts[value])
        if isinstance(op, Flatten):
            positions = int(np.prod(self.shapes[inputs[0]][1:]))
            return tuple((units, block * positions) for units, block in self.layouts[inputs[0]])
        return self.layouts[inputs[0]]

    def normal(self, *shape: int, fan: int = 1) -> np.ndarray:
        return self.numbers.standard_normal(shape) * (2.0 / fan) ** 0.5

    def vector(self, units: int, one_in: int = 2) -> np.ndarray | None:
        """A bias, or none once in ``one_in`` times."""
        return None if self.choices.flag(one_in) else 0.5 * self.normal(units)

    def width(self, read: int = 1) -> int:
        """A number of units, such that a layer that reads ``read`` numbers for each stays small."""
        fitting = [width for width in WIDTHS if width * read <= MOST_LINKS]
        return self.choices.one_of(fitting or WIDTHS[:1])

    def window(self, size: Shape, most: int = 5, dilated: bool = True) -> dict[str, tuple[int, int]]:
        """Kernel, stride, padding and dilation per axis that fit a map of ``size``."""
        axes = []
        for length in size:
            kernel, stride = self.choices.between(1, most), self.choices.between(1, 3)
            padding = self.choices.between(0, kernel)
            dilation = self.choices.between(1, 3) if dilated else 1
            if dilation * (kernel - 1) + 1 > length + 2 * padding:
                kernel, dilation = 1, 1
            axes.append((kernel, stride, padding, dilation))
        kernel, stride, padding, dilation = zip(*axes, strict=True)
        return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}

    def conv(self, x: str, units: int | None = None, same: bool = False) -> str:
        """A convolution; one that keeps the map's size when ``same``."""
        read, *size = self.shapes[x]
        if same:
            kernel = self.choices.one_of((1, 3))
            shape = {"kernel": (kernel, kernel), "padding": (kernel // 2, kernel // 2)}
        else:
            shape = self.window(size)
        op = Conv(**shape)
        count = units or self.width(read * size[0] * size[1])
        weight = self.normal(count, read, *op.kernel, fan=read * op.kernel[0] * op.kernel[1])
        return self.add(op, x, weight=weight, bias=self.vector(count))

    def depthwise(self, x: str) -> str:
        channels, *size = self.shapes[x]
        op = DepthwiseConv(**self.window(size))
        weight = self.normal(channels, 1, *op.kernel, fan=op.kernel[0] * op.kernel[1])
        return self.add(op, x, weight=weight, bias=self.vector(channels))

    def linear(self, x: str, units: int | None = None) -> str:
        (read,) = self.shapes[x]
        count = units or self.width(read)
        return self.add(Linear(), x, weight=self.normal(count, read, fan=read), bias=self.vector(count))

    def act(self, x: str) -> str:
        function = self.choices.one_of(FUNCTIONS)
        alpha = {"leaky_relu": 0.125, "elu": 0.75}.get(function, 0.0)
        return self.add(Activation(function, alpha), x)

    def norm(self, x: str) -> str:
        channels = self.shapes[x][0]
        return self.add(
            BatchNorm(self.choices.one_of((1e-5, 1e-3))),
            x,
            gamma=1 + 0.3 * self.normal(channels),
            beta=0.3 * self.normal(channels),
            mean=0.3 * self.normal(channels),
            var=self.numbers.uniform(0.2, 2, channels),
        )

    def prelu(self, x: str) -> str:
        return self.add(PRelu(), x, slope=0.3 * self.normal(self.shapes[x][0]))

    def affine(self, x: str, frozen: bool = False) -> str:
        channels = self.shapes[x][0]
        return self.add(
            ChannelAffine(frozen), x, scale=1 + 0.3 * self.normal(channels), shift=0.3 * self.normal(channels)
        )

    def like(self, x: str) -> str:
        """A new value of the shape and the segments of ``x``, computed from it."""
        layer = self.linear if len(self.shapes[x]) == 1 else lambda value, units: self.conv(value, units, same=True)
        pieces = [layer(x, units * block) for units, block in self.layouts[x]]
        return pieces[0] if len(pieces) == 1 else self.add(Concat(), *pieces)

    def tied(self, x: str) -> bool:
        """Whether a layer can make a value that may be added to ``x``: its units are not repeated."""
        return all(block == 1 for _, block in self.layouts[x])


def _residual(net: Drawer, x: str) -> str:
    inner = net.like(x)
    if net.choices.flag():
        inner = net.like(net.act(inner))
    return net.add(Add(), *((x, inner) if net.choices.flag() else (inner, x)))


def _product(net: Drawer, x: str) -> str:
    return net.add(Mul(), x, net.act(net.like(x)))


def _gate(net: Drawer, x: str) -> str:
    pooled = net.add(Flatten(), net.add(GlobalAvgPool(), x))
    hidden = net.act(net.linear(pooled)) if net.choices.flag() else pooled
    pieces = [net.linear(hidden, units) for units, _ in net.layouts[x]]
    joined = pieces[0] if len(pieces) == 1 else net.add(Concat(), *pieces)
    factor = net.add(Unflatten(), net.add(Activation(net.choices.one_of(("sigmoid", "hardsigmoid"))), joined))
    op = net.choices.one_of((Mul(), Add()))
    return net.add(op, *((x, factor) if net.choices.flag(3) else (factor, x)))


def _branches(net: Drawer, x: str) -> str:
    layer = net.linear if len(net.shapes[x]) == 1 else lambda value: net.conv(value, same=True)
    pieces = [layer(x) for _ in range(net.choices.between(1, 2))]
    if net.choices.flag():
        pieces[0] = net.act(pieces[0])
    if net.choices.flag():
        pieces.append(x)
    return net.add(Concat(), *pieces)


def _max_pool(net: Drawer, x: str) -> str:
    window = net.window(net.shapes[x][1:], 4, dilated=False)
    padding = tuple(min(p, k // 2) for p, k in zip(window["padding"], window["kernel"], strict=True))
    op = MaxPool(window["kernel"], window["stride"], padding, ceil=net.choices.flag())
    return net.add(op, x)


def _avg_pool(net: Drawer, x: str) -> str:
    window = net.window(net.shapes[x][1:], 4, dilated=False)
    padding = tuple(min(p, k // 2) for p, k in zip(window["padding"], window["kernel"], strict=True))
    op = AvgPool(window["kernel"], window["stride"], padding, count_include_pad=net.choices.flag())
    return net.add(op, x)


def _block(net: Drawer, x: str) -> str:
    """One step from a value to the next."""
    steps: list[Callable[[Drawer, str], str]] = [
        lambda net, x: net.act(x),
        lambda net, x: net.affine(x),
        lambda net, x: net.prelu(x),
        lambda net, x: net.norm(x),
        _branches,
    ]
    if net.tied(x):
        steps += [_residual, _product]
    if len(net.shapes[x]) == 1:
        steps += [lambda net, x: net.act(net.linear(x)), lambda net, x: net.norm(net.linear(x))]
        if net.tied(x) and net.shapes[x][0] <= 64:
            steps.append(lambda net, x: net.add(Unflatten(), x))
    else:
        steps += [
            lambda net, x: net.act(net.conv(x)),
            lambda net, x: net.act(net.norm(net.conv(x))),
            lambda net, x: net.act(net.norm(net.depthwise(x))),
            lambda net, x: net.depthwise(x),
            _max_pool,
            _avg_pool,
            lambda net, x: net.add(GlobalAvgPool(), x),
        ]
        if net.tied(x):
            steps.append(_gate)
    return net.choices.one_of(steps)(net, x)


def _flat(net: Drawer, x: str) -> str:
    if len(net.shapes[x]) == 1:
        return x
    size = int(np.prod(net.shapes[x]))
    pooled = size > 512 or net.choices.flag(3)
    return net.add(Flatten(), net.add(GlobalAvgPool(), x) if pooled else x)


def _head(net: Drawer, x: str) -> str:
    """One task's output: a vector of classes, rarely a map, with or without softmax."""
    classes = net.choices.one_of((1, 2, 3, 5, 10))
    kind = net.choices.below(12)
    if len(net.shapes[x]) == 3 and kind >= 10:
        out = net.conv(x, classes, same=True)
        if kind == 11:
            out = net.add(Flatten(), net.add(GlobalAvgPool(), out))
    elif kind == 9:
        flat = _flat(net, x)
        out = net.add(Concat(), net.linear(flat, classes), net.linear(flat, 2))
    else:
        out = net.linear(_flat(net, x), classes)
    return net.add(Softmax(log=net.choices.flag(2)), out) if net.choices.flag(4) else out


def _mask(numbers: np.random.Generator, units: int, everyone: int) -> np.ndarray:
    """Owners of one space before the read rule: any, exclusive ones, two masks of all, or all tasks."""
    match int(numbers.integers(4)):
        case 0:
            return numbers.integers(0, everyone + 1, units)
        case 1:
            return 1 << numbers.integers(0, everyone.bit_length(), units)
        case 2:
            return numbers.choice(numbers.integers(1, everyone + 1, 2), units)
        case _:
            return np.full(units, everyone)


def _obey(net: MultitaskGraph, numbers: np.random.Generator) -> MultitaskGraph:
    """Owners grown until no unit is without something to read: what starves, makes a unit before it serve its tasks."""
    owners = {space: vector.copy() for space, vector in net.owners.items()}
    places = {
        value: [(seg.space, unit) for seg in layout for unit in np.repeat(np.arange(len(owners[seg.space])), seg.block)]
        for value, layout in net.spaces.layouts.items()
    }

    def along(value: str) -> np.ndarray:
        return np.concatenate([np.repeat(owners[seg.space], seg.block) for seg in net.spaces.layouts[value]])

    changed = True
    while changed:
        changed = False
        for node in reversed(net.graph.nodes):
            if "in" not in node.op.param_axes.get("weight", ()):
                continue
            read = along(node.inputs[0])
            for mask in np.unique(along(node.name)):
                if mask & net.serves[node.name] and not ((mask & ~read) == 0).any():
                    space, unit = places[node.inputs[0]][int(numbers.integers(len(read)))]
                    owners[space][unit] |= mask
                    changed = True
                    read = along(node.inputs[0])
    return MultitaskGraph(net.tasks, net.graph, owners)


def _owned(graph: Graph, tasks: Sequence[str], numbers: np.random.Generator) -> MultitaskGraph:
    everyone = (1 << len(tasks)) - 1
    ends: Mapping[str, int] = {
        segment.space: 1 << bit
        for bit, task in enumerate(tasks)
        for segment in graph.spaces.layouts[graph.outputs[task]]
    }
    ends = {graph.spaces.space_of(graph.input.name): everyone, **ends}
    owners = {
        space: np.full(units, ends[space]) if space in ends else _mask(numbers, units, everyone)
        for space, units in graph.spaces.sizes.items()
    }
    held = {space: vector.astype(np.uint32) for space, vector in owners.items()}
    net = _obey(MultitaskGraph(tuple(tasks), graph, held), numbers)
    return verify_multitask(net.with_params({}), "drawing a network")


def draw_network(choices: Choices) -> MultitaskGraph:
    """A network of one to four tasks with at most about forty operations."""
    net = Drawer(choices)
    tasks = TASKS[: choices.one_of((1, 2, 2, 2, 3, 3, 4))]
    dtype = "uint8" if choices.flag(4) else "float32"
    if choices.flag(8):
        shape: Shape = (net.width(),)
    else:
        shape = (choices.one_of((1, 2, 3, 4, 8)), choices.between(1, 14), choices.between(1, 14))
    x = net.add(Input(shape, dtype))
    if choices.flag():
        x = net.affine(x, frozen=True)
    values = [net.linear(x) if len(shape) == 1 else net.conv(x)]
    for _ in range(choices.between(0, 6)):
        # Mostly from the newest value; an older one makes branches that no concatenation ends.
        source = choices.one_of(values) if choices.flag(6) else values[-1]
        values.append(_block(net, source))
    outputs = {}
    for task in tasks:
        source = values[-1]
        while choices.flag(4):
            source = _block(net, source)
        outputs[task] = _head(net, source)
    graph = Graph(tuple(net.nodes), outputs, net.params)
    graph = graph.pruned_to([graph.input.name, *outputs.values()])
    return _owned(graph, tasks, net.numbers)
