"""Plans against the network that they were lowered from, in float64, before anything is written.

Lowering moves numbers about and sums them in another order, which in float64 changes an output by some 1e-15. Folding a
batch norm rounds its products to float32. How much that may change an output depends on the network, and is measured:
the folded network is computed again with every parameter off by up to the rounding of float32. Both limits are far
below what the float32 of files needs: an epsilon that was misread is found here alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import VerificationError
from pamc.graph.cost import graph_macs
from pamc.verify.compare import errors
from pamc.verify.inside import probes
from pamc.verify.rounding import jittered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.graph import Graph, MultitaskGraph
    from pamc.lower import Numerics, Plan

    Outputs = Mapping[str, NDArray[np.float64]]

__all__ = ["verify_plans"]

LOWERING = 1e-10
DRAWS, TIMES_DRAWN = 4, 8


def _outputs(graph: Graph, x: NDArray[np.generic]) -> Outputs:
    import torch

    from pamc.graph.interpret import evaluate

    return {task: value.numpy() for task, value in evaluate(graph, x, dtype=torch.float64).items()}


def _compare(found: Outputs, wanted: Outputs, allowed: Mapping[str, float], what: str) -> None:
    for task, array in found.items():
        relative = errors(array, wanted[task])[1]
        if not relative <= allowed[task]:
            raise VerificationError(
                f"{what} changes output {task}: max rel {relative:.3g}, allowed {allowed[task]:.3g}",
                cure="this is a bug in pamc; please report it with the model.yaml",
            )


def verify_plans(net: MultitaskGraph, numerics: Numerics, plans: Iterable[Plan], x: NDArray[np.generic]) -> None:
    """Compare every plan's outputs with the network's for some of ``x`` ``(n, *input shape)`` and for noise.

    Raises VerificationError when they are further apart than rounding explains.
    """
    from pamc.lower.numerics import folded, stored

    held = folded(net)
    inputs = probes(x, graph_macs(held.graph))
    exact = dict.fromkeys(net.tasks, LOWERING)
    near, wanted = _outputs(held.graph, inputs), _outputs(net.graph, inputs)
    drawn = [_outputs(jittered(held.graph, seed), inputs) for seed in range(DRAWS)]
    rounding = {task: max(errors(draw[task], near[task])[1] for draw in drawn) for task in net.tasks}
    allowed = {task: LOWERING + TIMES_DRAWN * rounding[task] for task in net.tasks}
    _compare(near, wanted, allowed, "folding the batch norms")
    whole = _outputs(stored(held, numerics).graph, inputs)
    for plan in plans:
        _compare(_outputs(plan.graph, inputs), whole, exact, f"lowering task set {plan.task_set}")
