"""What the files of a bundle are to answer, computed from the multitask network in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pamc.verify.rounding import shaken_outputs

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from pamc.graph import Graph, MultitaskGraph
    from pamc.lower import Numerics

__all__ = ["neighbours", "reference_outputs"]

BATCH = 64
DRAWS = 4


def reference_outputs(
    net: MultitaskGraph, numerics: Numerics, x: NDArray[np.generic]
) -> dict[str, NDArray[np.floating]]:
    """The outputs ``(n, ...)`` of every task for ``x`` ``(n, *input shape)``.

    float32: the network as it is. float16: with its parameters rounded. int8: in integers, number for number. No
    lowering is involved, so that its faults are found too.
    """
    from pamc.graph.interpret import evaluate

    graph = _held(net, numerics)
    if numerics.kind == "int8":
        return _quantized(graph, numerics, x)
    return {task: output.numpy() for task, output in evaluate(graph, x).items()}


def neighbours(
    net: MultitaskGraph, numerics: Numerics, x: NDArray[np.generic], seed: int = 0
) -> dict[str, NDArray[np.floating]]:
    """``DRAWS`` times the outputs of every task, ``(DRAWS, n, ...)``: what kernels may answer that round in other ways.

    Every value of an int8 network is off by up to half a step; those and the parameters of others by up to the
    rounding of float32.
    """
    import torch

    graph = _held(net, numerics)

    def draw(number: int) -> dict[str, NDArray[np.floating]]:
        if numerics.kind == "int8":
            return _quantized(graph, numerics, x, torch.Generator().manual_seed(number))
        return shaken_outputs(graph, x, number)

    draws = [draw(seed + number) for number in range(DRAWS)]
    return {task: np.stack([drawn[task] for drawn in draws]) for task in graph.outputs}


def _held(net: MultitaskGraph, numerics: Numerics) -> Graph:
    """The network with the parameters that its files start from."""
    from pamc.lower.numerics import folded, stored

    return net.graph if numerics.kind == "float32" else stored(folded(net), numerics).graph


def _quantized(
    graph: Graph, numerics: Numerics, x: NDArray[np.generic], shaken: torch.Generator | None = None
) -> dict[str, NDArray[np.floating]]:
    import torch

    from pamc.graph.interpret import parts
    from pamc.lower.quantized import quantized_values

    pieces = [quantized_values(graph, numerics.ranges, part, shaken=shaken) for part in parts(graph, x, BATCH)]
    return {task: torch.cat([piece[value] for piece in pieces]).numpy() for task, value in graph.outputs.items()}
