"""Calibration: what int8 needs to know of a network, measured on samples: ranges of values, and shifts of biases.

A range is the smallest and the largest number seen. Narrower ones (of least squared error) were tried and did not help
the digits example; shifts did. Rounding weights and inputs moves the mean of a layer's outputs, and ReLUs let such a
shift pass on. Bias correction takes it back: a channel's shift is the mean, over samples and positions, of what the
layer computes from float inputs less what it computes from the same inputs and weights rounded (Nagel et al. 2019,
"Data-free quantization through weight equalization and bias correction", section 4.2, with measured means).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pamc.graph import Graph, MultitaskGraph, Node
from pamc.graph.ops import Activation, AvgPool, Concat, Flatten, GlobalAvgPool, Input, MaxPool, Softmax, Unflatten
from pamc.lower.numerics import Numerics, Range, folded
from pamc.progress import Progress, Tracker

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["calibrate", "numerics_of", "tied"]

BATCH = 64
# Operations whose int8 kernels hand numbers on as they are, so that both sides must have one scale. LiteRT's average
# pooling is one of them.
KEEPING = (Concat, MaxPool, AvgPool, Flatten, Unflatten)
# The scales that LiteRT's kernels demand: 1/256 from 0 for shares, 1/128 for tanh.
SHARE, LOG_SHARE, TANH = (0.0, 255 / 256), (-255 / 16, 0.0), (-1.0, 127 / 128)


def tied(graph: Graph) -> dict[str, str]:
    """For each value one of those that must have the same range, the same for all of these."""
    first: dict[str, str] = {node.name: node.name for node in graph.nodes}

    def root(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, KEEPING):
            for source in node.inputs:
                first[root(node.name)] = root(source)
    return {name: root(name) for name in first}


def _decided(node: Node) -> Range | None:
    """The range of a value that its operation alone decides."""
    op = node.op
    if isinstance(op, Input) and op.dtype == "uint8":
        return (0.0, 1.0)
    if isinstance(op, Softmax):
        return LOG_SHARE if op.log else SHARE
    if isinstance(op, Activation) and op.function == "sigmoid":
        return SHARE
    if isinstance(op, Activation) and op.function == "tanh":
        return TANH
    return None


def numerics_of(kind: str, net: MultitaskGraph, x: NDArray[np.generic], progress: Progress) -> Numerics:
    """The numerics of ``net`` for a kind of numbers; only int8 is calibrated, on samples ``x``."""
    return calibrate(net, x, progress) if kind == "int8" else Numerics(kind)


def calibrate(net: MultitaskGraph, x: NDArray[np.generic], progress: Progress) -> Numerics:
    """The int8 numerics of ``net`` for samples ``x`` ``(n, *input shape)``; the same samples give the same.

    Values that concatenation, pooling or flattening join have one range. Those of uint8 input, softmax, sigmoid and
    tanh are fixed, unless such a tie leads to another value. A mean that is always 0 has the range of what it is the
    mean of. Raises ValueError without samples.
    """
    if len(x) == 0:
        raise ValueError("nothing can be calibrated without samples")
    graph = folded(net).graph
    with progress.track(2 * len(x), "calibration") as bar:
        ranges = _ranges(graph, x, bar)
        return Numerics("int8", ranges, _shifts(graph, ranges, x, bar))


def _passes(graph: Graph, x: NDArray[np.generic], bar: Tracker) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    """The number of samples and every value of the graph, for one part of ``x`` after another."""
    import torch

    from pamc.graph.interpret import parts, run, tensors

    held = tensors(graph)
    for part in parts(graph, x, BATCH):
        with torch.no_grad():
            yield len(part), run(graph, part, lambda node, role: held[node.params[role]])
        bar.advance(len(part))


def _ranges(graph: Graph, x: NDArray[np.generic], bar: Tracker) -> dict[str, Range]:
    group = tied(graph)
    made = [node for node in graph.nodes if not isinstance(node.op, KEEPING)]
    seen = {group[node.name]: (0.0, 0.0) for node in made}
    for _, values in _passes(graph, x, bar):
        for node in made:
            low, high = (float(end) for end in values[node.name].aminmax())
            least, most = seen[group[node.name]]
            seen[group[node.name]] = (min(least, low), max(most, high))
    decided = {name: {_decided(node) for node in made if group[node.name] == name} for name in seen}
    fixed = {name: given for name, (given, *others) in decided.items() if given is not None and not others}
    ranges = seen | fixed
    for node in made:
        # Some kernels miss a mean by one step, and a range of nothing has a step of 1.
        if isinstance(node.op, GlobalAvgPool) and ranges[group[node.name]] == (0.0, 0.0):
            ranges[group[node.name]] = ranges[group[node.inputs[0]]]
    return {node.name: ranges[group[node.name]] for node in graph.nodes}


def _shifts(
    graph: Graph, ranges: Mapping[str, Range], x: NDArray[np.generic], bar: Tracker
) -> dict[str, tuple[float, ...]]:
    """By value what its layer's biases are to be shifted by, in numbers that float32 holds."""
    import torch

    from pamc.graph.interpret import step
    from pamc.lower.quantized import quantized_params, rounded

    layers = [node for node in graph.nodes if {"weight", "bias"} <= node.params.keys()]
    held = quantized_params(graph, ranges)
    total = {node.name: torch.zeros(graph.shapes[node.name][0], dtype=torch.float64) for node in layers}
    for count, values in _passes(graph, x, bar):
        for node in layers:
            (source,) = node.inputs
            read = rounded(values[source].double(), ranges[source])
            wanted = values[node.name].double()
            lost = wanted - step(node, lambda node, role: held[node.params[role]], [read])
            total[node.name] += count * lost.transpose(0, 1).flatten(1).mean(1)
    return {name: tuple(map(float, (lost / len(x)).numpy().astype(np.float32))) for name, lost in total.items()}
