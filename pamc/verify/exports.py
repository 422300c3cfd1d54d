"""Every emitted network against the PyTorch networks; a difference stops the build and is traced to its first value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pamc.bundle.manifest import Check
from pamc.errors import InternalError, OutputError, PamcError, VerificationError
from pamc.export import Exporter, Tracing
from pamc.verify.compare import errors, within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = ["RTOL", "verify_exports"]

RTOL = 1e-4


def _torch_values(plan: Plan, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
    import torch

    from pamc.graph.interpret import run, tensors

    held = tensors(plan.graph)
    with torch.no_grad():
        values = run(plan.graph, torch.as_tensor(x), lambda node, role: held[node.params[role]])
    return {name: value.numpy() for name, value in values.items()}


def _first_difference(exporter: Exporter, directory: Path, plan: Plan, x: NDArray[np.generic], rtol: float) -> str:
    if not isinstance(exporter, Tracing):
        return f"the exporter '{exporter.name}' cannot show the values inside"
    wanted = _torch_values(plan, x)
    try:
        found = exporter.trace(plan, directory, x)
    except PamcError as error:
        return f"the values inside cannot be compared: {error.what}"
    for node in plan.graph.nodes:
        if node.name in found and not within(found[node.name], wanted[node.name], rtol):
            largest, relative = errors(found[node.name], wanted[node.name])
            place = f" ({node.origin.location})" if node.origin.location else ""
            return (
                f"the first value that differs is {node.name}, a {node.op.kind}{place}: "
                f"max abs {largest:.3g}, max rel {relative:.3g}"
            )
    return "no value inside differs when all of them are shown, so the runtime's own optimisation is at fault"


def _fail(
    exporter: Exporter,
    directory: Path,
    plan: Plan,
    task: str,
    difference: tuple[float, float],
    x: NDArray[np.generic],
    reference: NDArray[np.floating],
    rtol: float,
) -> NoReturn:
    lowered = _torch_values(plan, x)[plan.graph.outputs[task]]
    if within(lowered, reference, rtol):
        why = _first_difference(exporter, directory, plan, x, rtol)
    else:
        why = "the lowered network itself differs, before it was written"
    raise VerificationError(
        f"{exporter.name}, task set {plan.task_set}, output {task}: max abs {difference[0]:.3g}, "
        f"max rel {difference[1]:.3g}, allowed {rtol:.3g}",
        where=str(directory),
        why=why,
        cure="this is a bug in pamc or in the runtime; please report it with the model.yaml",
    )


def verify_exports(
    exporter: Exporter,
    directory: Path,
    plans: Mapping[str, Plan],
    x: NDArray[np.generic],
    reference: Mapping[str, NDArray[np.floating]],
    *,
    rtol: float = RTOL,
    emitted: Collection[str] | None = None,
) -> list[Check]:
    """Run every task set of ``plans`` on ``x`` and compare each output with ``reference[task]``.

    ``x`` is ``(n, *input shape)``, the references ``(n, *output shape)``. Task sets that are not in ``emitted``
    (default: all are) are composed. Raises VerificationError at the first output whose error relative to the
    reference's largest magnitude is above ``rtol`` or not a number, and for a network that cannot be opened.
    """
    if len(x) == 0:
        raise InternalError("nothing can be verified without samples")
    checks = []
    for task_set, plan in plans.items():
        written = emitted is None or task_set in emitted
        try:
            session = exporter.open(directory, task_set) if written else exporter.compose(plan, directory)
        except OutputError as error:
            raise VerificationError(
                f"{exporter.name}, task set {task_set}: {error.what}", where=error.where, why=error.why
            ) from error
        outputs = session.run(x)
        if tuple(outputs) != tuple(plan.graph.outputs):
            raise VerificationError(
                f"{exporter.name}, task set {task_set}: its outputs are {list(outputs)}, "
                f"should be {list(plan.graph.outputs)}",
                where=str(directory),
            )
        for task, found in outputs.items():
            difference = errors(found, reference[task])
            if not difference[1] <= rtol:
                _fail(exporter, directory, plan, task, difference, x, reference[task], rtol)
            checks.append(Check(exporter.name, task_set, task, *difference, samples=len(x)))
    return checks
