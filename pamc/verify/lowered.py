"""Plans against the network that they were lowered from, in float64, before anything is written.

Lowering moves numbers about and sums them in another order, which in float64 changes an output by some 1e-15. Folding a
batch norm rounds its products to float32, which changes one by some 1e-7. Both limits are far above that and far below
what the float32 of files needs: an epsilon that was misread is found here alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pamc.errors import VerificationError
from pamc.graph.cost import graph_macs
from pamc.verify.compare import errors
from pamc.verify.inside import probes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamc.graph import Graph, MultitaskGraph
    from pamc.lower import Numerics, Plan

__all__ = ["FOLDING", "LOWERING", "verify_plans"]

LOWERING, FOLDING = 1e-10, 2e-6


def _compare(graph: Graph, reference: Graph, x: NDArray[np.generic], limit: float, what: str) -> None:
    import torch

    from pamc.graph.interpret import evaluate

    wanted = evaluate(reference, x, dtype=torch.float64)
    for task, found in evaluate(graph, x, dtype=torch.float64).items():
        relative = errors(found.numpy(), wanted[task].numpy())[1]
        if not relative <= limit:
            raise VerificationError(
                f"{what} changes output {task}: max rel {relative:.3g}, allowed {limit:.3g}",
                cure="this is a bug in pamc; please report it with the model.yaml",
            )


def verify_plans(net: MultitaskGraph, numerics: Numerics, plans: Iterable[Plan], x: NDArray[np.generic]) -> None:
    """Compare every plan's outputs with the network's for some of ``x`` ``(n, *input shape)`` and for noise.

    Raises VerificationError when they are further apart than rounding explains.
    """
    from pamc.lower.numerics import folded, stored

    held = folded(net)
    inputs = probes(x, graph_macs(held.graph))
    _compare(held.graph, net.graph, inputs, FOLDING, "folding the batch norms")
    whole = stored(held, numerics).graph
    for plan in plans:
        _compare(plan.graph, whole, inputs, LOWERING, f"lowering task set {plan.task_set}")
