"""Every emitted network against the PyTorch networks; a difference stops the build and is traced to its first value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pamc.bundle.manifest import Check
from pamc.errors import InternalError, OutputError, PamcError, VerificationError
from pamc.export import Exporter, Session, Tracing, Variants
from pamc.verify.compare import errors
from pamc.verify.limits import RTOL, Limit, limit_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = ["verify_exports"]


def _torch_values(plan: Plan, x: NDArray[np.generic]) -> dict[str, NDArray[np.floating]]:
    import torch

    from pamc.graph.interpret import run, tensors
    from pamc.lower.quantized import quantized_values

    if plan.kind == "int8":
        return {name: value.numpy() for name, value in quantized_values(plan.graph, plan.ranges, x).items()}
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
        limit = limit_of(plan, node.name, rtol)
        if node.name in found and not limit.holds(found[node.name], wanted[node.name]):
            largest, relative = errors(found[node.name], wanted[node.name])
            place = f" ({node.origin.location})" if node.origin.location else ""
            return (
                f"the first value that differs is {node.name}, a {node.op.kind}{place}: "
                f"max abs {largest:.3g}, max rel {relative:.3g}"
            )
    return "no value inside differs when all of them are shown, so the runtime's own optimisation is at fault"


def _named(exporter: Exporter, plan: Plan, file: str) -> str:
    return f"{exporter.name}, task set {plan.task_set}" + (f" in {file}" if file else "")


def _fail(
    exporter: Exporter,
    directory: Path,
    file: str,
    plan: Plan,
    task: str,
    difference: tuple[float, float],
    x: NDArray[np.generic],
    reference: NDArray[np.floating],
    limit: Limit,
    rtol: float,
) -> NoReturn:
    if file:
        why = "another form of this network was found right, so the conversion is at fault"
    elif limit.holds(_torch_values(plan, x)[plan.graph.outputs[task]], reference):
        why = _first_difference(exporter, directory, plan, x, rtol)
    else:
        why = "the lowered network itself differs, before it was written"
    raise VerificationError(
        f"{_named(exporter, plan, file)}, output {task}: "
        f"max abs {difference[0]:.3g}, max rel {difference[1]:.3g}, allowed {limit}",
        where=str(directory),
        why=why,
        cure="this is a bug in pamc or in the runtime; please report it with the model.yaml",
    )


def _networks(
    exporter: Exporter, directory: Path, plans: Mapping[str, Plan], emitted: Collection[str]
) -> Iterator[tuple[str, Plan, Session]]:
    """A session of every task set, then those of further forms, with the names of their files."""
    place = ""
    try:
        for task_set, plan in plans.items():
            place = f", task set {task_set}"
            written = task_set in emitted
            yield "", plan, exporter.open(directory, task_set) if written else exporter.compose(plan, directory)
        if isinstance(exporter, Variants):
            place = ""
            for file, task_set, session in exporter.variants(directory, [name for name in plans if name in emitted]):
                yield file, plans[task_set], session
    except OutputError as error:
        raise VerificationError(f"{exporter.name}{place}: {error.what}", where=error.where, why=error.why) from error


def verify_exports(
    exporter: Exporter,
    directory: Path,
    plans: Mapping[str, Plan],
    x: NDArray[np.generic],
    reference: Mapping[str, NDArray[np.floating]],
    *,
    rtol: float = RTOL,
    near: Callable[[], Mapping[str, NDArray[np.floating]]] = dict,
    emitted: Collection[str] | None = None,
) -> list[Check]:
    """Run every task set of ``plans`` on ``x`` and compare each output with ``reference[task]``.

    ``x`` is ``(n, *input shape)``, the references ``(n, *output shape)``. Task sets that are not in ``emitted``
    (default: all are) are composed; further forms of those that are must answer the same. Raises VerificationError
    at the first output that is further from the reference than :mod:`pamc.verify.limits` allows or not a number, and
    for a network that cannot be opened. ``rtol`` is for floats. ``near()[task]`` ``(draws, n, *output shape)`` are what
    others that round may answer; it is asked for when an output is not near enough without.
    """
    if len(x) == 0:
        raise InternalError("nothing can be verified without samples")
    worst: dict[tuple[str, str], tuple[float, float]] = {}
    for file, plan, session in _networks(exporter, directory, plans, plans if emitted is None else emitted):
        outputs = session.run(x)
        if tuple(outputs) != tuple(plan.graph.outputs):
            raise VerificationError(
                f"{_named(exporter, plan, file)}: its outputs are {list(outputs)}, "
                f"should be {list(plan.graph.outputs)}",
                where=str(directory),
            )
        for task, found in outputs.items():
            difference = errors(found, reference[task])
            value = plan.graph.outputs[task]
            limit = limit_of(plan, value, rtol)
            if not limit.holds(found, reference[task]):
                limit = limit_of(plan, value, rtol, near().get(task))
                if not limit.holds(found, reference[task]):
                    _fail(exporter, directory, file, plan, task, difference, x, reference[task], limit, rtol)
            place = plan.task_set, task
            worst[place] = max(worst.get(place, difference), difference)
    return [Check(exporter.name, *place, *difference, samples=len(x)) for place, difference in worst.items()]
