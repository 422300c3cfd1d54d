"""Networks to time: VGG and ResNet-18 with owners, without training.

Weights are random: time does not depend on them. A *split* says how the units of a layer divide over groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pamc.graph import Graph, MultitaskGraph, Node, all_task_sets, verify_multitask
from pamc.graph.ir import frozen_array
from pamc.graph.ops import Activation, Add, Conv, Flatten, GlobalAvgPool, Input, Linear, MaxPool, Op
from pamc.graph.owners import DTYPE, Owners, runs

__all__ = ["BUILDERS", "SPLITS", "Split", "dense", "grouped", "resnet18", "vgg16"]

CLASSES = 10
SMALLEST = 16
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
RESNET18 = (64, 128, 256, 512)

Split = Callable[[int, int], Mapping[int, int]]
Builder = Callable[[Callable[[int], int], int, Mapping[str, int]], Graph]


@dataclass
class _Writer:
    size: int
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[Node] = field(default_factory=list)
    params: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes.append(Node("x", Input((3, self.size, self.size))))

    def add(self, kind: str, op: Op, *inputs: str, **arrays: np.ndarray) -> str:
        name = f"{kind}{sum(node.name.startswith(kind) for node in self.nodes)}"
        self.params |= {f"{name}.{role}": frozen_array(array.astype(np.float32)) for role, array in arrays.items()}
        self.nodes.append(Node(name, op, inputs, {role: f"{name}.{role}" for role in arrays}))
        return name

    def conv(self, x: str, read: int, units: int, kernel: int = 3, stride: int = 1) -> str:
        op = Conv((kernel, kernel), (stride, stride), (kernel // 2, kernel // 2))
        weight = self.rng.standard_normal((units, read, kernel, kernel)) * np.sqrt(2 / (read * kernel**2))
        return self.add("conv", op, x, weight=weight, bias=0.1 * self.rng.standard_normal(units))

    def relu(self, x: str) -> str:
        return self.add("relu", Activation("relu"), x)

    def heads(self, x: str, read: int, classes: Mapping[str, int]) -> Graph:
        pooled = self.add("flat", Flatten(), self.add("gap", GlobalAvgPool(), x))
        outputs = {}
        for task, count in classes.items():
            weight = self.rng.standard_normal((count, read)) / np.sqrt(read)
            outputs[task] = self.add("head", Linear(), pooled, weight=weight, bias=np.zeros(count))
        return Graph(tuple(self.nodes), outputs, self.params)


def vgg16(width: Callable[[int], int], size: int, classes: Mapping[str, int]) -> Graph:
    """The 13 convolutions of VGG-16 on ``size`` x ``size`` images, then the mean over positions and one head a task.

    ``width`` gives the number of units in place of VGG's own.
    """
    writer = _Writer(size)
    value, read = "x", 3
    for nominal in VGG16:
        if nominal:
            value, read = writer.relu(writer.conv(value, read, width(nominal))), width(nominal)
        else:
            value = writer.add("pool", MaxPool((2, 2), (2, 2)), value)
    return writer.heads(value, read, classes)


def resnet18(width: Callable[[int], int], size: int, classes: Mapping[str, int]) -> Graph:
    """ResNet-18 on ``size`` x ``size`` images, its batch norms folded, with one head a task."""
    writer = _Writer(size)
    read = width(RESNET18[0])
    value = writer.relu(writer.conv("x", 3, read, kernel=7, stride=2))
    value = writer.add("pool", MaxPool((3, 3), (2, 2), (1, 1)), value)
    for stage, nominal in enumerate(RESNET18):
        units = width(nominal)
        for block in range(2):
            stride = 2 if stage and not block else 1
            inner = writer.relu(writer.conv(value, read, units, stride=stride))
            inner = writer.conv(inner, units, units)
            skip = value if stride == 1 else writer.conv(value, read, units, kernel=1, stride=2)
            value, read = writer.relu(writer.add("add", Add(), inner, skip)), units
    return writer.heads(value, read, classes)


BUILDERS: Mapping[str, Builder] = {"vgg16": vgg16, "resnet18": resnet18}


def _groups(masks: Iterable[int], shares: Callable[[int], float], owned: int, tasks: int) -> Mapping[int, int]:
    # Shares are of what one task owns; whole tiles of 16, and at least one.
    return {mask: max(1, round(shares(mask) * owned / SMALLEST)) * SMALLEST for mask in masks}


def exclusive_and_all(owned: int, tasks: int) -> Mapping[int, int]:
    """PAM's groups: of the units that a task owns, half are its own and half are everybody's."""
    everyone = (1 << tasks) - 1
    return _groups([everyone, *(1 << task for task in range(tasks))], lambda _: 0.5, owned, tasks)


def every_subset(owned: int, tasks: int) -> Mapping[int, int]:
    """A group for each set of tasks, all of the same size."""
    masks = sorted(all_task_sets(tasks), key=lambda mask: -mask.bit_count())
    return _groups(masks, lambda _: 1.0 / (1 << (tasks - 1)), owned, tasks)


SPLITS: Mapping[str, Split] = {"pam": exclusive_and_all, "lattice": every_subset}


def _owners(groups: Mapping[int, int]) -> Owners:
    return np.repeat(np.array(list(groups), dtype=DTYPE), list(groups.values()))


def grouped(network: str, split: str, tasks: int, size: int) -> MultitaskGraph:
    """A multitask network of 2 to 4 tasks, each of which owns about as many units as the network has by itself."""
    names = tuple("abcd"[:tasks])
    groups = {nominal: SPLITS[split](nominal, tasks) for nominal in {*VGG16, *RESNET18} - {0}}
    widths = {nominal: sum(sizes.values()) for nominal, sizes in groups.items()}
    graph = BUILDERS[network](widths.__getitem__, size, dict.fromkeys(names, CLASSES))
    vectors = {widths[nominal]: _owners(sizes) for nominal, sizes in groups.items()}
    everyone = (1 << tasks) - 1
    owners = {space: vectors[units] for space, units in graph.spaces.sizes.items() if space not in graph.spaces.fixed}
    owners["x"] = np.full(3, everyone, DTYPE)
    for bit, value in enumerate(graph.outputs.values()):
        owners[value] = np.full(CLASSES, 1 << bit, DTYPE)
    return verify_multitask(MultitaskGraph(names, graph, owners).with_params({}), "building")


def dense(network: str, split: str, tasks: int, size: int, request: int) -> MultitaskGraph:
    """One network, every unit of which reads all: as wide as what runs for ``request`` of the grouped one.

    Its one head yields the outputs of all tasks asked for.
    """

    def width(nominal: int) -> int:
        return int(runs(_owners(SPLITS[split](nominal, tasks)), request).sum())

    graph = BUILDERS[network](width, size, {"all": CLASSES * request.bit_count()})
    owners = {space: np.full(units, 1, DTYPE) for space, units in graph.spaces.sizes.items()}
    return MultitaskGraph(("all",), graph, owners)
