"""Which int8 numbers stand for which values.

A value's scale depends on its range alone, which calibration found for the value of the multitask network that it is
a part of, so every group and every task set has the same one. Some operations copy numbers: pools, flattening and
joining keep the scale of what they read. Values that are joined therefore share the widest of their ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pamc.graph import Graph, Node
from pamc.graph.ops import Activation, AvgPool, Concat, Flatten, Input, MaxPool, Softmax, Unflatten
from pamc.lower.numerics import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = ["FIXED", "PIXELS", "Scale", "Scales", "bias_numbers", "row_scales", "widened"]

LOWEST, HIGHEST = -128, 127
LARGEST_WEIGHT = 127
LEAST_STEP = float(np.finfo(np.float32).tiny)
COPYING = (MaxPool, AvgPool, Flatten, Unflatten, Concat)


@dataclass(frozen=True, slots=True)
class Scale:
    """real = (number - zero) * step, for numbers from -128 to 127. ``step`` is exact in float32."""

    step: float
    zero: int

    @classmethod
    def of(cls, span: Range) -> Scale:
        """The finest scale that reaches both ends of a range, with 0 exact. A range of nothing but 0 has step 1.

        So has one whose step would be below the normal numbers of float32, which runtimes refuse.
        """
        low, high = min(span[0], 0.0), max(span[1], 0.0)
        step = float(np.float32((high - low) / (HIGHEST - LOWEST)))
        return cls(step, round(LOWEST - low / step)) if step >= LEAST_STEP else cls(1.0, 0)


# What the kernels of these functions demand. Raw pixels, 0 to 255, are the values 0 to 1.
_UNIT = Scale(1 / 256, LOWEST)
FIXED = {"sigmoid": _UNIT, "softmax": _UNIT, "log_softmax": Scale(1 / 16, HIGHEST), "tanh": Scale(1 / 128, 0)}
PIXELS = Scale(float(np.float32(1 / 255)), LOWEST)


def demanded(node: Node) -> Scale | None:
    """The scale that an operation must yield, if it has no choice."""
    op = node.op
    if isinstance(op, Input) and op.dtype == "uint8":
        return PIXELS
    if isinstance(op, Softmax):
        return FIXED["log_softmax" if op.log else "softmax"]
    return FIXED.get(op.function) if isinstance(op, Activation) else None


def _origin(graph: Graph, node: Node) -> Node:
    """The node whose scale a value has: itself, or what it copies."""
    while isinstance(node.op, COPYING) and len(node.inputs) > 0:
        node = graph.by_name[node.inputs[0]]
    return node


class Scales:
    """The scales of one plan's values. ``wider`` replaces the ranges of some values of the multitask network."""

    def __init__(self, plan: Plan, wider: Mapping[str, Range]) -> None:
        self._plan = plan
        self._wider = wider

    def __getitem__(self, value: str) -> Scale:
        node = _origin(self._plan.graph, self._plan.graph.by_name[value])
        source = self._plan.sources[node.name]
        if source in self._wider:
            return Scale.of(self._wider[source])
        return demanded(node) or Scale.of(self._plan.ranges[node.name])


def widened(plans: Iterable[Plan]) -> dict[str, Range]:
    """Ranges of the values that are joined, in some task set, with values of another scale."""
    parent: dict[str, str] = {}
    reach: dict[str, Range] = {}
    found: dict[str, Scale] = {}

    def top(source: str) -> str:
        while parent[source] != source:
            source = parent[source]
        return source

    for plan in plans:
        graph, scales = plan.graph, Scales(plan, {})
        for node in graph.nodes:
            if not isinstance(node.op, COPYING):
                source = plan.sources[node.name]
                parent.setdefault(source, source)
                found[source] = scales[node.name]
                reach[source] = _reach(found[source])
        for node in graph.nodes:
            if isinstance(node.op, Concat):
                first, *others = (plan.sources[_origin(graph, graph.by_name[name]).name] for name in node.inputs)
                for other in others:
                    one, two = sorted((top(first), top(other)))
                    parent[two] = one
    members: dict[str, list[str]] = {}
    for source in sorted(parent):
        members.setdefault(top(source), []).append(source)
    wider: dict[str, Range] = {}
    for joined in members.values():
        if len({found[source] for source in joined}) > 1:
            lows, highs = zip(*(reach[source] for source in joined), strict=True)
            wider |= dict.fromkeys(joined, (min(lows), max(highs)))
    return wider


def _reach(scale: Scale) -> Range:
    return (LOWEST - scale.zero) * scale.step, (HIGHEST - scale.zero) * scale.step


def row_scales(
    weight: NDArray[np.floating], bias: NDArray[np.floating], given: float, wanted: float
) -> NDArray[np.float32]:
    """The step of each row of a weight ``(units, ...)``, whose numbers go from -127 to 127.

    ``given`` and ``wanted`` are the steps of the values read and produced. A row of (nearly) nothing gets a step at
    which kernels can still compute: its bias fits into 30 bits, and its products are not below 2**-20 of a step.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1, initial=0.0)
    steps = np.maximum(largest / LARGEST_WEIGHT, np.abs(bias) / (given * 2.0**30))
    held: NDArray[np.float32] = np.maximum(steps, wanted / given * 2.0**-20).astype(np.float32)
    return held


def bias_numbers(bias: NDArray[np.floating], steps: NDArray[np.floating]) -> NDArray[np.int32]:
    """The 32-bit numbers of a bias; the step of each is that of the products it is added to."""
    return np.rint(bias.astype(np.float64) / steps).astype(np.int32)
