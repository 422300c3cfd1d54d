"""Plans: the exact flat graph that one task set runs on one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from pamc.errors import InternalError
from pamc.graph import Graph, MultitaskGraph, compact, fold_batch_norm, name_of, select, verify, verify_multitask
from pamc.graph.cost import graph_macs, graph_params
from pamc.graph.select import Selection
from pamc.lower.numerics import FLOAT32, Numerics, Range
from pamc.lower.target import Target

__all__ = ["Plan", "lower"]


@dataclass(frozen=True)
class Plan:
    """What one inference of ``task_set`` (mask ``request``) runs.

    ``graph`` has one node per layer and group; its outputs are named by task. A parameter of the same name has the
    same content in the plans of all task sets. ``owners`` maps each value to the mask of the tasks it serves,
    ``sources`` to the value of the multitask network that it is a part of. ``kind`` is how numbers are stored and
    computed (:class:`pamc.lower.Numerics`): with float16 the parameters are numbers that float16 can hold, with int8
    ``ranges`` has the range of each value.
    """

    task_set: str
    request: int
    target: str
    graph: Graph
    owners: Mapping[str, int]
    sources: Mapping[str, str]
    macs: int
    params: int
    kind: str = "float32"
    ranges: Mapping[str, Range] = field(default_factory=dict)


def lower(
    net: MultitaskGraph, requests: Sequence[int], target: Target, numerics: Numerics = FLOAT32
) -> dict[int, Plan]:
    """The plans of the task sets ``requests`` (masks), in that order.

    Folds batch norms, removes dead units and splits each layer into its groups; the function computed stays the
    same. Raises InternalError for a mask that is empty or names unknown tasks, and for a network that breaks the
    rules of the IR.
    """
    if bad := [request for request in requests if not 0 < request <= net.everyone]:
        raise InternalError(f"task sets {bad} do not exist in a network of {len(net.tasks)} tasks")
    compacted = verify_multitask(compact(replace(net, graph=fold_batch_norm(net.graph))), "folding")
    if numerics.kind == "float16":
        halves = {key: array.astype(np.float16).astype(array.dtype) for key, array in compacted.graph.params.items()}
        compacted = compacted.with_params(halves)
    plans = {}
    for request, selection in select(compacted, requests).items():
        task_set = name_of(request, net.tasks)
        graph = verify(selection.graph, f"lowering {task_set}")
        plans[request] = Plan(
            task_set=task_set,
            request=request,
            target=target.name,
            graph=graph,
            owners=MappingProxyType(dict(selection.owners)),
            sources=MappingProxyType(dict(selection.sources)),
            macs=graph_macs(graph),
            params=graph_params(graph),
            kind=numerics.kind,
            ranges=MappingProxyType(_ranges(graph, selection, numerics)),
        )
    return plans


def _ranges(graph: Graph, selection: Selection, numerics: Numerics) -> dict[str, Range]:
    if numerics.kind != "int8":
        return {}
    sources = {node.name: selection.sources[node.name] for node in graph.nodes}
    if missing := sorted(set(sources.values()) - set(numerics.ranges)):
        raise InternalError(f"the calibration saw no range of {', '.join(missing)}")
    return {name: numerics.ranges[source] for name, source in sources.items()}
