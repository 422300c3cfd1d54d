"""What a network computes in int8, number for number, in PyTorch.

Calibration looks at it, and it is the reference for int8 files: it shares no code with the exporters. Weights are
rounded per output channel, symmetrically to 127 steps; biases to int32 steps of input scale x weight scale; values to
256 steps over their ranges, 0 among them (Jacob et al. 2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", section 2; per channel as in Krishnamoorthi 2018, section 3). Sums are
exact, in float64. A value that only a ReLU reads is not rounded: kernels take the ReLU along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamc.graph import Graph, Node
from pamc.graph.interpret import run
from pamc.graph.ops import Activation, Conv, DepthwiseConv, Input, Linear
from pamc.lower.numerics import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["quantized_params", "quantized_values", "rounded", "step_of"]

LEAST, MOST, WEIGHT_STEPS = -128, 127, 127
FUSED = ("relu", "relu6")


def step_of(bounds: Range) -> float:
    """The distance of two neighbouring int8 numbers over a range; 1 where the range is empty."""
    low, high = bounds
    return (high - low) / (MOST - LEAST) if high > low else 1.0


def rounded(value: Tensor, bounds: Range) -> Tensor:
    """The numbers that int8 can hold over ``bounds``, nearest to those of ``value``."""
    step = step_of(bounds)
    zero = min(max(round(LEAST - bounds[0] / step), LEAST), MOST)
    return (torch.clamp(torch.round(value / step) + zero, LEAST, MOST) - zero) * step


def _to_steps(value: Tensor, step: Tensor) -> Tensor:
    """The nearest multiples of ``step``. A row without weights has none of its own: its bias stays as it is."""
    return torch.where(step > 0, torch.round(value / step) * step, value)


def quantized_params(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Tensor]:
    """The parameters as int8 and int32 hold them, in float64."""
    held = {key: torch.tensor(array, dtype=torch.float64) for key, array in graph.params.items()}
    for node in graph.nodes:
        if not isinstance(node.op, Conv | DepthwiseConv | Linear):
            continue
        weight = held[node.params["weight"]]
        scale = weight.flatten(1).abs().amax(1) / WEIGHT_STEPS
        held[node.params["weight"]] = _to_steps(weight, scale.reshape(-1, *(1,) * (weight.dim() - 1)))
        if "bias" in node.params:
            held[node.params["bias"]] = _to_steps(held[node.params["bias"]], scale * step_of(ranges[node.inputs[0]]))
    return held


def _exact(graph: Graph) -> frozenset[str]:
    """Values that are not rounded: what only a ReLU reads, and outputs that nothing reads."""
    outputs = set(graph.outputs.values())

    def fused(node: Node) -> bool:
        readers = graph.consumers[node.name]
        if isinstance(node.op, Input) or len(readers) + (node.name in outputs) != 1:
            return False
        return not readers or (isinstance(readers[0].op, Activation) and readers[0].op.function in FUSED)

    return frozenset(node.name for node in graph.nodes if fused(node))


def quantized_values(
    graph: Graph,
    ranges: Mapping[str, Range],
    x: NDArray[np.generic] | Tensor,
    *,
    shaken: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Every value of a graph whose values have ``ranges``, for a batch ``x`` ``(n, *input shape)``, in float64.

    Outputs are not rounded where nothing else reads them: some runtimes yield them as they are. ``shaken`` draws for
    every channel of every value up to half a step, up or down, that all of it is off before it is rounded.
    """
    held, exact = quantized_params(graph, ranges), _exact(graph)

    def storing(node: Node, value: Tensor) -> Tensor:
        if node.name in exact:
            return value
        if shaken is not None:
            off = torch.rand(value.shape[1], generator=shaken, dtype=value.dtype) - 0.5
            value = value + step_of(ranges[node.name]) * off.reshape(-1, *(1,) * (value.dim() - 2))
        return rounded(value, ranges[node.name])

    with torch.no_grad():
        return run(graph, torch.as_tensor(x), lambda node, role: held[node.params[role]], storing=storing)
