"""Layers as zipping sees them: effective weights, with the norm behind them folded in, and what they read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pamc.graph import Graph, Node
from pamc.graph.interpret import parts, run, tensors
from pamc.graph.ops import IN, BatchNorm, Conv, DepthwiseConv, Linear
from pamc.graph.passes import batch_norm_affine
from pamc.graph.spaces import Segment
from pamc.merge.quadratic import Values

__all__ = ["Layer", "layers", "measured", "values_of"]

BATCH = 32


@dataclass(frozen=True)
class Layer:
    """A node with parameters and the batch norm that alone reads it, if there is one.

    The effective layer is y = sum over taps of ``weight`` x + ``bias``. A norm or an affine on its own is a layer of
    one tap that reads only its own channel. A linear layer that reads flattened maps takes their positions for taps.
    """

    node: Node
    norm: Node | None
    taps: int

    @property
    def mixes(self) -> bool:
        """Whether a unit reads all channels, and not only its own."""
        return IN in self.node.op.param_axes.get("weight", ())

    @property
    def biased(self) -> bool:
        """Whether the layer can add a constant."""
        return self.norm is not None or "weight" not in self.node.params or "bias" in self.node.params

    def segments(self, layout: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """The layout of what the layer reads, with the positions that are taps taken out."""
        taps = self.taps if isinstance(self.node.op, Linear) else 1
        return tuple(Segment(seg.space, seg.block // taps) for seg in layout)

    def inputs(self, value: Tensor) -> Tensor:
        """What the layer reads as ``(n, inputs, positions)``."""
        width = value.shape[1] // self.taps if isinstance(self.node.op, Linear) else value.shape[1]
        return value.reshape(len(value), width, -1)

    def raw(self, graph: Graph) -> Values:
        """The weights ``(channels, inputs, taps)`` of the node itself; one input when the layer does not mix."""
        role = "weight" if "weight" in self.node.params else "scale"
        if isinstance(self.node.op, BatchNorm):
            return batch_norm_affine(graph, self.node)[0][:, None, None]
        array = graph.array(self.node, role).astype(np.float64)
        inputs = array.size // (len(array) * self.taps) if array.size else 0
        return array.reshape(len(array), inputs, self.taps)

    def effective(self, graph: Graph) -> tuple[Values, Values]:
        """Weights ``(channels, inputs, taps)`` and bias ``(channels,)`` with the norm folded in."""
        weight = self.raw(graph)
        bias = np.zeros(len(weight))
        if isinstance(self.node.op, BatchNorm):
            bias = batch_norm_affine(graph, self.node)[1]
        for role in ("bias", "shift"):
            if role in self.node.params:
                bias = graph.array(self.node, role).astype(np.float64)
        if self.norm is not None:
            scale, shift = batch_norm_affine(graph, self.norm)
            weight, bias = weight * scale[:, None, None], bias * scale + shift
        return weight, bias


def layers(graph: Graph) -> Mapping[str, Layer]:
    """All layers of a graph by the names of their nodes, in graph order."""
    found: dict[str, Layer] = {}
    folded: set[str] = set()
    for node in graph.nodes:
        if not node.params or node.name in folded:
            continue
        norm = None
        readers = graph.consumers[node.name]
        if isinstance(node.op, Conv | DepthwiseConv | Linear) and node.name not in graph.outputs.values():
            norm = readers[0] if len(readers) == 1 and isinstance(readers[0].op, BatchNorm) else None
        if norm is not None:
            folded.add(norm.name)
        found[node.name] = Layer(node, norm, _taps(graph, node))
    return found


def _taps(graph: Graph, node: Node) -> int:
    if isinstance(node.op, Linear):
        return math.gcd(*(seg.block for seg in graph.spaces.layouts[node.inputs[0]]))
    return math.prod(node.op.kernel) if isinstance(node.op, Conv | DepthwiseConv) else 1


def values_of(graph: Graph, value: str, x: NDArray[np.generic]) -> Iterator[Tensor]:
    """One value of the graph for ``x`` ``(n, *input shape)``, batch by batch, in inference mode."""
    needed = graph.pruned_to([value])
    held = tensors(needed)
    for part in parts(needed, x, BATCH):
        with torch.no_grad():
            yield run(needed, part, lambda node, role: held[node.params[role]])[value]


def measured(graph: Graph, value: str, x: NDArray[np.generic]) -> tuple[Values, Values]:
    """Mean and variance of every channel of a value over samples and positions."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in values_of(graph, value, x):
        flat = part.to(torch.float64).transpose(0, 1).flatten(1)
        count += flat.shape[1]
        total, squares = total + flat.sum(dim=1), squares + flat.square().sum(dim=1)
    mean = total / count
    return mean.numpy(), (squares / count - mean.square()).clamp(min=0).numpy()
