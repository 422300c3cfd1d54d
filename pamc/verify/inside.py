"""Every operation of a written network by itself, on the values that the file itself feeds it.

Comparing outputs alone misses faults that later layers dampen, and its limit must leave room for the rounding of a
whole network. Here each operation is computed once more in PyTorch, in float64, from the values that the file yields
before it, and what the file yields for it is compared channel by channel. Rounding does not add up over the layers, so
the limits are those of one operation:

* float: 4e-6 of the largest number that the channel would have without cancellation: for layers with weights that of
  ``|w| * |x| + |b|``, to which the rounding error of a sum is proportional (Higham, "Accuracy and Stability of
  Numerical Algorithms", 2002, eq. 3.5). Over 15,000 operations of random networks the largest error was 7e-7 of it.
* int8: 0.6 steps of the value's range for layers with weights: kernels round to the nearest step, and none was further
  off than 0.5. 1.5 for all others: some read tables, round twice, or multiply with few bits, and 1.4 was seen.

Half of the inputs are white noise: where the user's data are always zero, they say nothing about the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import OutputError, VerificationError
from pamc.export import Exporter, Tracing
from pamc.graph.ops import Activation, Input, PRelu, Softmax
from pamc.verify.compare import errors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from pamc.graph import Node
    from pamc.lower import Plan

__all__ = ["FLOAT_LIMIT", "probes", "verify_operations"]

FLOAT_LIMIT = 4e-6
STEPS_OF_LAYERS, STEPS = 0.6, 1.5
FEWEST, MOST, MOST_MACS = 2, 16, 2**31


def probes(x: NDArray[np.generic], macs: int, seed: int = 0) -> NDArray[np.generic]:
    """The first samples of ``x`` and as much white noise: 2 to 16 in all, the fewer the dearer one inference is.

    The noise has the mean and the deviation of ``x``; for uint8 it is uniform over all bytes.
    """
    half = min(len(x), max(FEWEST, min(MOST, MOST_MACS // max(macs, 1))) // 2)
    numbers = np.random.default_rng(seed)
    shape = (half, *x.shape[1:])
    if x.dtype == np.uint8:
        noise = numbers.integers(0, 256, shape, dtype=np.uint8)
    else:
        deviation = float(x.std()) or 1.0
        noise = numbers.normal(float(x.mean()), deviation, shape).astype(x.dtype)
    return np.concatenate([x[:half], noise])


def _magnitude(node: Node, held: Mapping[str, Tensor], xs: list[Tensor], value: Tensor) -> Tensor:
    """What the rounding error of an operation is proportional to, element by element."""
    from pamc.graph.interpret import step

    if isinstance(node.op, Activation | PRelu) or (isinstance(node.op, Softmax) and node.op.log):
        # Exponentials near 1, from which 1 may have been taken.
        return value.abs() + xs[0].abs() + 1
    if isinstance(node.op, Softmax):
        return value.abs()
    return step(node, lambda node, role: held[node.params[role]].abs(), [x.abs() for x in xs])


def _by_channel(value: Tensor) -> Tensor:
    """The largest number ``(channels,)`` of a value ``(n, channels, ...)``."""
    return value.transpose(0, 1).flatten(1).amax(1)


def _wrong_operation(exporter: Tracing, directory: Path, plan: Plan, x: NDArray[np.generic]) -> str | None:
    """The first operation of a written or composed network that computes something else than the plan says, in words.

    ``x`` is ``(n, *input shape)``. Values that the exporter cannot show are computed; the next one shown tells.
    """
    import torch

    from pamc.graph.interpret import run, tensors
    from pamc.lower.quantized import quantized_params, step_of

    graph = plan.graph
    shown = exporter.trace(plan, directory, x)
    held = quantized_params(graph, plan.ranges) if plan.kind == "int8" else tensors(graph, torch.float64)
    values: dict[str, Tensor] = {}
    wrong: list[str] = []

    def compare(node: Node, value: Tensor) -> Tensor:
        found = torch.as_tensor(shown[node.name], dtype=torch.float64)
        place = f"{node.name}, a {node.op.kind}{node.origin.location and f' ({node.origin.location})'}"
        if not np.isfinite(errors(found.numpy(), value.numpy())[0]):
            wrong.append(f"{place}: another shape, or numbers that are not finite")
            return value
        limit = FLOAT_LIMIT * _by_channel(_magnitude(node, held, [values[name] for name in node.inputs], value))
        apart = found - value
        if plan.kind == "int8":
            low, high = plan.ranges[node.name]
            steps = STEPS_OF_LAYERS if "weight" in node.op.param_axes else STEPS
            limit = limit + steps * step_of((low, high))
            apart = found.clamp(low, high) - value.clamp(low, high)
        distance = _by_channel(apart.abs())
        if not bool((distance <= limit).all()):
            channel = int((distance - limit).argmax())
            wrong.append(
                f"{place}: channel {channel} is off by {float(distance[channel]):.3g} where rounding explains "
                f"{float(limit[channel]):.3g}"
            )
        return found

    def storing(node: Node, value: Tensor) -> Tensor:
        if node.name in shown and not wrong:
            # The input is what it is: in int8 rounded, where something reads it so.
            given = isinstance(node.op, Input)
            value = torch.as_tensor(shown[node.name], dtype=torch.float64) if given else compare(node, value)
        values[node.name] = value
        return value

    with torch.no_grad():
        run(graph, torch.as_tensor(x), lambda node, role: held[node.params[role]], storing=storing)
    return wrong[0] if wrong else None


def verify_operations(exporter: Exporter, directory: Path, plans: Iterable[Plan], x: NDArray[np.generic]) -> None:
    """Check every operation of every plan's network in ``directory``.

    They run on some of ``x`` ``(n, *input shape)`` and on noise. Exporters that cannot show the values inside are
    passed over. Raises VerificationError at the first wrong one.
    """
    if not isinstance(exporter, Tracing):
        return
    for plan in plans:
        try:
            wrong = _wrong_operation(exporter, directory, plan, probes(x, plan.macs))
        except OutputError as error:
            wrong = error.what
        if wrong is not None:
            raise VerificationError(
                f"{exporter.name}, task set {plan.task_set}, inside: {wrong}",
                where=str(directory),
                cure="this is a bug in pamc or in the runtime; please report it with the model.yaml",
            )
