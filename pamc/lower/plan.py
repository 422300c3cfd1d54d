"""Plans: the exact flat graph that one task set runs on one target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pamc.errors import InternalError
from pamc.graph import Graph, MultitaskGraph, compact, fold_batch_norm, name_of, select, verify, verify_multitask
from pamc.graph.cost import cost, graph_macs, graph_params
from pamc.graph.owners import groups
from pamc.graph.select import Folding, fold_groups
from pamc.lower.cost_model import seconds
from pamc.lower.fold import choose_folding
from pamc.lower.numerics import FLOAT32, Numerics, Range, stored
from pamc.lower.split import choose_splits, split
from pamc.lower.target import Target
from pamc.spec import FOLD_BYTES

__all__ = ["Plan", "bare_plan", "lower"]


@dataclass(frozen=True)
class Plan:
    """What one inference of ``task_set`` (mask ``request``) runs.

    ``graph`` has one node per layer and group, or per layer and fold of groups; its outputs are named by task. A
    parameter of the same name has the same content in the plans of all task sets. ``owners`` maps each value to the
    mask of the tasks it serves, ``sources`` to the value of the multitask network that it is a part of. ``macs`` and
    ``params`` are what the task set needs; folds compute with zeros too, see ``computed_macs``. ``kind`` is how numbers
    are stored and computed (:class:`pamc.lower.Numerics`): with float16 the parameters are numbers that float16 can
    hold, with int8 ``ranges`` has the range of each value. ``seconds`` is the estimated time of each value, empty where
    the target's costs are not known; ``folds`` says in words what runs as one.
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
    seconds: Mapping[str, float] = field(default_factory=dict)
    folds: tuple[str, ...] = ()

    @property
    def estimated_seconds(self) -> float:
        """Estimated time of one inference; 0 where the target's costs are not known."""
        return sum(self.seconds.values())

    @property
    def computed_macs(self) -> int:
        """Multiply-accumulates of one inference, those with the zeros of folds among them."""
        return graph_macs(self.graph)

    @property
    def computed_params(self) -> int:
        """Number of parameters of the graph, the zeros of folds among them."""
        return graph_params(self.graph)


def bare_plan(graph: Graph, target: str) -> Plan:
    """A plan around a plain graph, so that exporters can write a network that no multitask network was lowered to.

    It is for measurements and tests of single operations. Its one task set is all outputs of ``graph``, every value
    serves all of them and is a part of itself, and the numbers are float32.
    """
    request = (1 << len(graph.outputs)) - 1
    return Plan(
        task_set="+".join(graph.outputs),
        request=request,
        target=target,
        graph=graph,
        owners=dict.fromkeys(graph.by_name, request),
        sources={name: name for name in graph.by_name},
        macs=graph_macs(graph),
        params=graph_params(graph),
    )


def lower(
    net: MultitaskGraph,
    requests: Sequence[int],
    target: Target,
    numerics: Numerics = FLOAT32,
    workload: Mapping[int, float] | None = None,
    fold_bytes: int = FOLD_BYTES,
) -> dict[int, Plan]:
    """The plans of the task sets ``requests`` (masks), in that order.

    Folds batch norms, removes dead units and splits each layer into its groups; the function computed stays the
    same. Where the target's costs are known, groups run as one where that is estimated to be faster
    (:mod:`pamc.lower.fold`), most of all for the task sets that ``workload`` says are frequent, and as long as the
    weights of all plans stay under ``fold_bytes`` or grow by 3 % at most. Raises InternalError
    for a mask that is empty or names unknown tasks, and for a network that breaks the rules of the IR.
    """
    if bad := [request for request in requests if not 0 < request <= net.everyone]:
        raise InternalError(f"task sets {bad} do not exist in a network of {len(net.tasks)} tasks")
    compacted = verify_multitask(compact(replace(net, graph=fold_batch_norm(net.graph))), "folding")
    compacted = stored(compacted, numerics)
    costs = target.costs
    foldings = choose_folding(compacted, requests, costs, workload, fold_bytes) if costs is not None else {}
    # What is the same in all task sets is decided once, for all.
    whole = select(compacted, [net.everyone])[net.everyone].graph
    joined = {node.name for node in whole.nodes}
    splits = frozenset[str]() if costs is None or numerics.kind == "int8" else choose_splits(whole, costs)
    plans = {}
    for request, selection in select(compacted, requests, foldings).items():
        task_set = name_of(request, net.tasks)
        own = frozenset[str]()
        if splits is not None and costs is not None and numerics.kind != "int8":
            own = choose_splits(selection.graph, costs) - joined
        made = split(selection.graph, splits | own)
        graph = verify(made.graph, f"lowering {task_set}")
        origin = {node.name: made.parts.get(node.name, node.name) for node in graph.nodes}
        sources = {name: selection.sources[value] for name, value in origin.items()}
        needed = cost(compacted, request)
        plans[request] = Plan(
            task_set=task_set,
            request=request,
            target=target.name,
            graph=graph,
            owners=MappingProxyType({name: selection.owners[value] for name, value in origin.items()}),
            sources=MappingProxyType(sources),
            macs=needed.macs,
            params=needed.params,
            kind=numerics.kind,
            ranges=MappingProxyType(_ranges(sources, numerics)),
            seconds=MappingProxyType(seconds(graph, costs) if costs is not None else {}),
            folds=tuple(_words(compacted, request, foldings.get(request, {}))),
        )
    return plans


def _words(net: MultitaskGraph, request: int, folding: Folding) -> Iterator[str]:
    for space, kept in folding.items():
        masks = [mask for mask in groups(net.owners[space]) if mask & request]
        for fold in fold_groups(masks, kept):
            if len(fold) > 1:
                yield f"{space}: {', '.join(name_of(mask, net.tasks) for mask in fold)}"


def _ranges(sources: Mapping[str, str], numerics: Numerics) -> dict[str, Range]:
    if numerics.kind != "int8":
        return {}
    if missing := sorted(set(sources.values()) - set(numerics.ranges)):
        raise InternalError(f"the calibration saw no range of {', '.join(missing)}")
    return {name: numerics.ranges[source] for name, source in sources.items()}
