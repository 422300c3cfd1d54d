"""Which nodes of several networks are the same layer: hash-consing from the input upwards."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from pamc.graph import Graph, Node
from pamc.graph.ops import Add, Conv, Input, Linear, Mul
from pamc.graph.reshape import channel_index

__all__ = ["Matching", "Member", "match"]

Member = tuple[str, str]


@dataclass(frozen=True)
class Matching:
    """``ids[task, node]`` is equal for nodes that become one; ``members[id]`` are these nodes by task.

    ``groups[task, space]`` is equal for channel spaces that become one.
    """

    ids: Mapping[Member, int]
    members: Mapping[int, Mapping[str, str]]
    groups: Mapping[Member, int]


def match(graphs: Mapping[str, Graph]) -> Matching:
    """Match nodes with equal operations and matched inputs; layers in an output's channel space never match.

    Where one network ties the channels of two matched layers and another does not, the later one is taken apart.
    """
    tags: dict[Member, Hashable] = {}
    rounds = 0
    while True:
        ids = _identify(graphs, tags)
        members: dict[int, dict[str, str]] = defaultdict(dict)
        for (task, name), number in ids.items():
            members[number][task] = name
        groups = _space_groups(graphs, ids)
        conflict = _conflict(graphs, ids, members, groups)
        if conflict is None:
            return Matching(ids, dict(members), groups)
        earlier, later = (members[number] for number in conflict)
        kinds: dict[str, Hashable] = {
            task: _tied(graphs[task], earlier.get(task), name) for task, name in later.items()
        }
        if len(set(kinds.values())) == 1:
            kinds = {task: task for task in later}
        rounds += 1
        tags.update({(task, name): (rounds, kinds[task]) for task, name in later.items()})


def _tied(graph: Graph, earlier: str | None, later: str) -> bool | None:
    """Whether a network ties two layers' channels; None when it has no counterpart of the earlier one."""
    if earlier is None:
        return None
    return graph.spaces.space_of(earlier) == graph.spaces.space_of(later)


def _identify(graphs: Mapping[str, Graph], tags: Mapping[Member, Hashable]) -> dict[Member, int]:
    numbers: dict[Hashable, int] = {}
    ids: dict[Member, int] = {}
    for task, graph in graphs.items():
        seen: dict[Hashable, int] = defaultdict(int)
        image = graph.input.name
        for node in graph.nodes:
            inputs = [ids[task, name] for name in node.inputs]
            if isinstance(node.op, Add | Mul):
                inputs.sort()
            key: tuple[Hashable, ...] = (node.op, tuple(inputs), frozenset(node.params), tags.get((task, node.name)))
            spaces = {seg.space for seg in graph.spaces.layouts[node.name]}
            if (spaces & graph.spaces.fixed) - {image}:
                key = (task, *key)
            elif image in spaces:
                # The image's channels are common, so their parameters must be so too.
                key = (*key, _image_content(graph, node))
            occurrence = seen[key]
            seen[key] += 1
            ids[task, node.name] = numbers.setdefault((*key, occurrence), len(numbers))
    return ids


def _image_content(graph: Graph, node: Node) -> str:
    """A hash of the parameters along the image's channels of a node's value."""
    keep = {space: np.zeros(0, dtype=np.intp) for space in graph.spaces.sizes if space != graph.input.name}
    channels = channel_index(graph.spaces.layouts[node.name], graph.spaces.sizes, keep)
    digest = hashlib.sha256()
    for role in sorted(node.params):
        digest.update(role.encode())
        digest.update(graph.array(node, role)[channels].tobytes())
    return digest.hexdigest()


def _space_groups(graphs: Mapping[str, Graph], ids: Mapping[Member, int]) -> dict[Member, int]:
    """Spaces of the merged graph: spaces that hold a common layer, transitively."""
    parent: dict[int, int] = {}

    def find(number: int) -> int:
        while parent.setdefault(number, number) != number:
            number = parent[number]
        return number

    spaces = [
        (task, space, [ids[task, name] for name in names])
        for task, graph in graphs.items()
        for space, names in graph.spaces.producers.items()
    ]
    for _, _, numbers in spaces:
        for number in numbers:
            one, other = sorted((find(numbers[0]), find(number)))
            parent[other] = one
    return {(task, space): find(numbers[0]) for task, space, numbers in spaces}


def _conflict(
    graphs: Mapping[str, Graph],
    ids: Mapping[Member, int],
    members: Mapping[int, Mapping[str, str]],
    groups: Mapping[Member, int],
) -> tuple[int, int] | None:
    """Two matched layers (earlier, later) that one network keeps in two spaces, and the others together tie."""
    for task, graph in graphs.items():
        first: dict[int, tuple[str, int]] = {}
        for node in graph.nodes:
            number = ids[task, node.name]
            if not isinstance(node.op, Input | Conv | Linear) or len(members[number]) < 2:
                continue
            space = graph.spaces.space_of(node.name)
            known = first.setdefault(groups[task, space], (space, number))
            if known[0] != space:
                return known[1], number
    return None
