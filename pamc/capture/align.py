"""Several networks as one multitask graph: common layers side by side, everything else task-exclusive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pamc.capture.matching import Matching, match
from pamc.errors import Finding, UnsupportedModelError
from pamc.graph import Graph, MultitaskGraph, Node, verify_multitask
from pamc.graph.ir import frozen_array
from pamc.graph.ops import IN, OUT, Input
from pamc.graph.owners import DTYPE
from pamc.graph.reshape import Index, channel_index, grid
from pamc.graph.spaces import Segment

__all__ = ["AlignReport", "Divergence", "NetworkAlignment", "align", "align_report"]

NORMALIZE = "normalize"


def align(graphs: Mapping[str, Graph]) -> MultitaskGraph:
    """The networks side by side, bit for bit what they were: every unit is owned by the task of its network.

    Layers that match (same operation on matched inputs, widths may differ) become one layer with the units of all
    networks that have it. Raises UnsupportedModelError when the networks do not take the same input.
    """
    _check_inputs(graphs)
    return verify_multitask(_Merge(graphs, match(graphs)).build(), "alignment")


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first layer of a network that not all networks have, and the tasks that still share it."""

    node: str
    op: str
    location: str
    shared_with: tuple[str, ...]
    is_head: bool


@dataclass(frozen=True, slots=True)
class NetworkAlignment:
    """``shared[tasks]``: layers with weights that a network has in common with exactly these other tasks."""

    task: str
    layers: int
    shared: Mapping[tuple[str, ...], int]
    diverges: Divergence | None


@dataclass(frozen=True, slots=True)
class AlignReport:
    """What the networks have in common."""

    networks: tuple[NetworkAlignment, ...]

    def render(self) -> str:
        """Plain text: for each network what it shares, and where it goes its own way."""
        lines = []
        for item in self.networks:
            parts = [f"{count} with {'+'.join(tasks)}" for tasks, count in item.shared.items() if tasks]
            own = item.shared.get((), 0)
            lines.append(f"{item.task}: {item.layers} layers: {', '.join([*parts, f'{own} of its own'])}")
            if item.diverges is not None:
                place = f" ({item.diverges.location})" if item.diverges.location else ""
                reason = "the output" if item.diverges.is_head else "the first difference"
                lines.append(f"  {reason}: {item.diverges.op} {item.diverges.node}{place}")
        return "\n".join(lines) + "\n"


def align_report(graphs: Mapping[str, Graph]) -> AlignReport:
    """What :func:`align` would share. Raises UnsupportedModelError when the networks do not take the same input."""
    _check_inputs(graphs)
    matching = match(graphs)
    networks = []
    for task, graph in graphs.items():
        shared: Counter[tuple[str, ...]] = Counter()
        diverges = None
        for node in graph.nodes:
            others = tuple(name for name in matching.members[matching.ids[task, node.name]] if name != task)
            if "weight" in node.params:
                shared[others] += 1
            if len(others) < len(graphs) - 1 and diverges is None:
                fixed = any(seg.space in graph.spaces.fixed for seg in graph.spaces.layouts[node.name])
                diverges = Divergence(node.name, node.op.kind, node.origin.location, others, fixed)
        order = dict(sorted(shared.items(), key=lambda item: (-len(item[0]), item[0])))
        networks.append(NetworkAlignment(task, sum(shared.values()), order, diverges))
    return AlignReport(tuple(networks))


def _check_inputs(graphs: Mapping[str, Graph]) -> None:
    first = next(iter(graphs))
    wanted = graphs[first]
    findings = []
    for task, graph in graphs.items():
        mine, theirs = graph.input.op, wanted.input.op
        assert isinstance(mine, Input) and isinstance(theirs, Input)
        if mine != theirs:
            why = f"it takes {list(mine.shape)} of {mine.dtype}, and '{first}' {list(theirs.shape)} of {theirs.dtype}"
            findings.append(Finding(task, "input", "", "", why, "give every network the same input"))
        elif _normalization(graph) != _normalization(wanted):
            why = f"its input is normalised otherwise than that of '{first}'"
            findings.append(Finding(task, NORMALIZE, "", "", why, "use one normalisation for every network"))
    if findings:
        raise UnsupportedModelError("the networks do not take the same input", findings=findings)


def _normalization(graph: Graph) -> list[bytes]:
    node = graph.by_name.get(NORMALIZE)
    return [] if node is None else [graph.array(node, role).tobytes() for role in sorted(node.params)]


class _Merge:
    def __init__(self, graphs: Mapping[str, Graph], matching: Matching) -> None:
        self.graphs = graphs
        self.matching = matching
        self.units, self.sizes = self._units()
        self.names = self._names()

    def _units(self) -> tuple[dict[tuple[str, str], Index], dict[str, int]]:
        """Positions of each network's units in the merged spaces (named by number), and the sizes of these."""
        units: dict[tuple[str, str], Index] = {}
        sizes: dict[str, int] = {}
        for (task, space), group in self.matching.groups.items():
            graph = self.graphs[task]
            count = graph.spaces.sizes[space]
            # The image's channels are common to all networks; anything else is side by side.
            start = 0 if space == graph.input.name else sizes.get(str(group), 0)
            units[task, space] = np.arange(start, start + count)
            sizes[str(group)] = start + count
        return units, sizes

    def _names(self) -> dict[int, str]:
        names: dict[int, str] = {}
        taken: set[str] = set()
        for number, members in self.matching.members.items():
            task, name = next(iter(members.items()))
            wanted = name if len(members) > 1 or len(self.graphs) == 1 else f"{task}.{name}"
            chosen, count = wanted, 1
            while chosen in taken:
                count += 1
                chosen = f"{wanted}_{count}"
            taken.add(chosen)
            names[number] = chosen
        return names

    def _layout(self, task: str, value: str) -> tuple[Segment, ...]:
        segments = self.graphs[task].spaces.layouts[value]
        return tuple(Segment(str(self.matching.groups[task, seg.space]), seg.block) for seg in segments)

    def _channels(self, task: str, value: str) -> Index:
        """Positions of a network's channels along a merged value."""
        segments = self.graphs[task].spaces.layouts[value]
        keep = {str(self.matching.groups[task, seg.space]): self.units[task, seg.space] for seg in segments}
        return channel_index(self._layout(task, value), self.sizes, keep)

    def _width(self, task: str, value: str) -> int:
        return sum(self.sizes[seg.space] * seg.block for seg in self._layout(task, value))

    def _param(self, members: Mapping[str, str], role: str) -> NDArray[np.floating]:
        """Every network's block at its units; links between networks hold zeros."""
        task, name = next(iter(members.items()))
        node = self.graphs[task].by_name[name]
        first = self.graphs[task].array(node, role)
        kinds = node.op.param_axes[role]
        width = {OUT: self._width(task, name), IN: self._width(task, node.inputs[0])}
        shape = [width.get(kind, size) for kind, size in zip(kinds, first.shape, strict=True)]
        merged = np.full(shape, node.op.fill.get(role, 0.0), dtype=first.dtype)
        for owner, mine in members.items():
            graph = self.graphs[owner]
            source = graph.by_name[mine]
            read = self._channels(owner, source.inputs[0])
            merged[grid(source.op, role, self._channels(owner, mine), read, shape)] = graph.array(source, role)
        return merged

    def build(self) -> MultitaskGraph:
        nodes: dict[int, Node] = {}
        params: dict[str, NDArray[np.floating]] = {}
        for task, graph in self.graphs.items():
            for node in graph.nodes:
                number = self.matching.ids[task, node.name]
                if number in nodes:
                    continue
                name = self.names[number]
                inputs = tuple(self.names[self.matching.ids[task, source]] for source in node.inputs)
                keys = {role: f"{name}.{role}" for role in node.params}
                for role, key in keys.items():
                    params[key] = frozen_array(self._param(self.matching.members[number], role))
                nodes[number] = Node(name, node.op, inputs, keys, node.origin)
        outputs = {
            task: self.names[self.matching.ids[task, value]]
            for task, graph in self.graphs.items()
            for value in graph.outputs.values()
        }
        merged = Graph(tuple(nodes.values()), outputs, params)
        return MultitaskGraph(tuple(self.graphs), merged, self._owners(merged))

    def _owners(self, merged: Graph) -> dict[str, NDArray[np.uint32]]:
        everyone = (1 << len(self.graphs)) - 1
        owners = {space: np.zeros(size, dtype=DTYPE) for space, size in merged.spaces.sizes.items()}
        for bit, (task, graph) in enumerate(self.graphs.items()):
            for space, names in graph.spaces.producers.items():
                name = self.names[self.matching.ids[task, names[0]]]
                mask = everyone if space == graph.input.name else 1 << bit
                owners[merged.spaces.space_of(name)][self.units[task, space]] = mask
        return owners
