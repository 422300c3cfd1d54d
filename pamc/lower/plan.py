"""Plans: the exact flat graph that one task set runs on one target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pamc.errors import InternalError
from pamc.graph import Graph, MultitaskGraph, compact, fold_batch_norm, name_of, select, verify, verify_multitask
from pamc.graph.cost import graph_macs, graph_params
from pamc.lower.target import Target

__all__ = ["Plan", "lower"]


@dataclass(frozen=True)
class Plan:
    """What one inference of ``task_set`` (mask ``request``) runs.

    ``graph`` has one node per layer and group; its outputs are named by task. A parameter of the same name has the
    same content in the plans of all task sets. ``owners`` maps each value to the mask of the tasks it serves.
    """

    task_set: str
    request: int
    target: str
    graph: Graph
    owners: Mapping[str, int]
    macs: int
    params: int


def lower(net: MultitaskGraph, requests: Sequence[int], target: Target) -> dict[int, Plan]:
    """The plans of the task sets ``requests`` (masks), in that order.

    Folds batch norms, removes dead units and splits each layer into its groups; the function computed stays the
    same. Raises InternalError for a mask that is empty or names unknown tasks, and for a network that breaks the
    rules of the IR.
    """
    if bad := [request for request in requests if not 0 < request <= net.everyone]:
        raise InternalError(f"task sets {bad} do not exist in a network of {len(net.tasks)} tasks")
    compacted = verify_multitask(compact(replace(net, graph=fold_batch_norm(net.graph))), "folding")
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
            macs=graph_macs(graph),
            params=graph_params(graph),
        )
    return plans
