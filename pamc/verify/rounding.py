"""What the rounding of float32 may do to a network: how far two right ways to compute it may end apart.

Mostly that is some 1e-7 of an output. A network whose values cancel, or whose output is next to nothing beside what it
was computed from, makes more of it, and no runtime can do better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from pamc.graph import Graph, Node

__all__ = ["jittered", "shaken_outputs"]

ROUNDING = 2.0**-24


def jittered(graph: Graph, seed: int) -> Graph:
    """The graph with every parameter, in float64, off by up to the rounding of float32."""
    numbers = np.random.default_rng(seed)
    return graph.with_params(
        {
            key: array.astype(np.float64) * (1 + ROUNDING * numbers.uniform(-1, 1, array.shape))
            for key, array in graph.params.items()
        }
    )


def shaken_outputs(graph: Graph, x: NDArray[np.generic], seed: int) -> dict[str, NDArray[np.floating]]:
    """The outputs by name for ``x`` ``(n, *input shape)``, in float64, when every parameter and every value is off by
    up to the rounding of float32.

    An activation is off by the rounding of what it reads as well: inside of a GELU, 1 and nearly -1 are added.
    """
    import torch

    from pamc.graph.interpret import evaluate
    from pamc.graph.ops import Activation

    generator = torch.Generator().manual_seed(seed)
    values: dict[str, torch.Tensor] = {}

    def storing(node: Node, value: torch.Tensor) -> torch.Tensor:
        size = value.abs()
        if isinstance(node.op, Activation):
            size = size + values[node.inputs[0]].abs()
        off = 2 * torch.rand(value.shape, generator=generator, dtype=value.dtype) - 1
        values[node.name] = value + ROUNDING * size * off
        return values[node.name]

    found = evaluate(jittered(graph, seed), x, dtype=torch.float64, storing=storing)
    return {name: value.numpy() for name, value in found.items()}
