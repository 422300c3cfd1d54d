"""The executable specification of the IR, run after every pass.

Each rule is a generator of problems; a pass that breaks one fails at once, with the rule's words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pamc.errors import InternalError
from pamc.graph.ir import Graph, MultitaskGraph
from pamc.graph.ops import OPS, Input, ShapeError
from pamc.graph.owners import name_of

__all__ = ["verify", "verify_multitask"]


def _node_problems(graph: Graph) -> Iterator[str]:
    seen: set[str] = set()
    for node in graph.nodes:
        spec = OPS.get(node.op.kind)
        if spec is None or type(node.op) is not spec:
            yield f"{node.name}: operation {node.op!r} is not in the set"
            continue
        if node.name in seen:
            yield f"{node.name}: two nodes share this name"
        if missing := [name for name in node.inputs if name not in seen]:
            yield f"{node.name}: reads {missing} before they exist"
        if node.op.arity is not None and len(node.inputs) != node.op.arity:
            yield f"{node.name}: {node.op.kind} takes {node.op.arity} inputs, has {len(node.inputs)}"
        required = set(node.op.param_axes) - node.op.optional
        if not required <= set(node.params) <= set(node.op.param_axes):
            yield f"{node.name}: parameters {sorted(node.params)} do not fit {node.op.kind}"
        if absent := [key for key in node.params.values() if key not in graph.params]:
            yield f"{node.name}: parameters {absent} do not exist"
        seen.add(node.name)
    for name, value in graph.outputs.items():
        if value not in seen:
            yield f"output {name}: value {value!r} does not exist"
    if sum(isinstance(node.op, Input) for node in graph.nodes) != 1:
        yield "there must be exactly one input"
    used = {key for node in graph.nodes for key in node.params.values()}
    if idle := sorted(set(graph.params) - used):
        yield f"parameters nobody uses: {idle}"


def _param_problems(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        units = graph.units_of(node)
        for role, axes in node.op.param_axes.items():
            if role not in node.params:
                continue
            array = graph.array(node, role)
            if array.ndim != len(axes):
                yield f"{node.name}.{role}: {array.ndim} axes, {node.op.kind} wants {len(axes)}"
                continue
            wanted = {"out": units, "in": graph.shapes[node.inputs[0]][0] if node.inputs else None}
            for axis, kind in enumerate(axes):
                if kind in wanted and array.shape[axis] != wanted[kind]:
                    yield f"{node.name}.{role}: axis {axis} is {array.shape[axis]}, should be {wanted[kind]}"
            if not np.isfinite(array).all():
                yield f"{node.name}.{role}: holds NaN or infinity"
            if array.flags.writeable:
                yield f"{node.name}.{role}: is writeable"


def verify(graph: Graph, after: str) -> Graph:
    """Return the graph if it is valid. Raises InternalError naming the pass ``after`` which it broke."""
    problems = list(_node_problems(graph))
    if not problems:
        try:
            problems = [*_param_problems(graph)]
            _ = graph.spaces
        except ShapeError as error:
            problems = [str(error)]
    if problems:
        raise InternalError(
            f"the graph is invalid after {after}: " + "; ".join(problems[:5]),
            cure="this is a bug in pamc; please report it with the model.yaml",
        )
    return graph


def _owner_problems(net: MultitaskGraph) -> Iterator[str]:
    if set(net.owners) != set(net.spaces.sizes):
        yield f"owners for {sorted(net.owners)}, spaces are {sorted(net.spaces.sizes)}"
        return
    if set(net.graph.outputs) != set(net.tasks):
        yield f"outputs {sorted(net.graph.outputs)} are not the tasks"
        return
    for space, vector in net.owners.items():
        if vector.shape != (net.spaces.sizes[space],):
            yield f"space {space}: {vector.shape} owners for {net.spaces.sizes[space]} units"
        elif (vector & ~np.uint32(net.everyone)).any():
            yield f"space {space}: owners name tasks that do not exist"
    for task, value in net.graph.outputs.items():
        bit = net.task_set([task])
        if (net.owners_along(value) != bit).any():
            yield f"output of {task}: its units must be owned by {name_of(bit, net.tasks)} alone"
    if (net.owners_along(net.graph.input.name) != net.everyone).any():
        yield "the input must be owned by every task"


def _rule_problems(net: MultitaskGraph) -> Iterator[str]:
    for node in net.graph.nodes:
        mask = net.mask(node)
        if mask is None:
            continue
        weight = net.graph.array(node, "weight")
        links = np.abs(weight).max(axis=tuple(range(2, weight.ndim)), initial=0.0) > 0
        if (links & ~mask).any():
            reader, read = np.argwhere(links & ~mask)[0]
            yield f"{node.name}: unit {reader} reads channel {read} against the read rule"
        starved = (net.owners_out(node) != 0) & ~mask.any(axis=1)
        if starved.any():
            unit = int(np.flatnonzero(starved)[0])
            group = name_of(int(net.owners_out(node)[unit]), net.tasks)
            yield f"{node.name}: unit {unit} of group {group} has nothing to read"


def verify_multitask(net: MultitaskGraph, after: str) -> MultitaskGraph:
    """Like :func:`verify`, plus owners and the read rule."""
    verify(net.graph, after)
    problems = list(_owner_problems(net)) or list(_rule_problems(net))
    if problems:
        raise InternalError(
            f"the multitask graph is invalid after {after}: " + "; ".join(problems[:5]),
            cure="this is a bug in pamc; please report it with the model.yaml",
        )
    return net
