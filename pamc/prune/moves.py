"""The two moves of pruning, remove a unit and release a task from it, priced by what they save.

The price of a unit with owners m in space S is what the workload pays for it, all else fixed:

    P(m') * (its reads)  +  sum over the groups o <= m that read it of  P(o) * (their reads of it)

with P(m) the chance that a request meets m, and m' the owners on whose behalf it is read. A move's saving is the
difference of two prices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, expected_macs
from pamc.graph.ops import DepthwiseConv
from pamc.graph.owners import DTYPE, Owners, members
from pamc.prune.draft import Draft
from pamc.prune.tiles import round_to_tiles

__all__ = ["Rules", "Saliency", "prices", "prune_to", "unit_price"]

Saliency = Mapping[str, NDArray[np.float64]]
"""``{space: (tasks + 1, units)}``: the loss at stake when a task releases a unit; last row: when it is removed."""

CHUNK = 0.25
NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class Rules:
    """Which moves there are, and how they rank.

    ``releases``: whether a task can be released from a shared unit; ``exponent``: the power of the saving that the loss
    at stake is divided by; ``floor``: the least units that a task keeps of each space that it uses; ``least_owners``:
    units with fewer owners are left alone; ``tile``: groups end at multiples of so many units where they can.
    """

    releases: bool = True
    exponent: float = 0.5
    floor: int = 1
    least_owners: int = 1
    tile: int = 1


def _chance(workload: Mapping[int, float], mask: int) -> float:
    return sum(chance for request, chance in workload.items() if request & mask)


@dataclass(frozen=True)
class _Counts:
    """Units of each space by owners."""

    masks: Mapping[str, NDArray[np.uint32]]
    units: Mapping[str, NDArray[np.intp]]

    @classmethod
    def of(cls, net: MultitaskGraph) -> _Counts:
        found = {space: np.unique(vector, return_counts=True) for space, vector in net.owners.items()}
        return cls({s: pair[0] for s, pair in found.items()}, {s: pair[1] for s, pair in found.items()})

    def readable(self, space: str, mask: int) -> int:
        """Units of a space that a unit with owners ``mask`` may read."""
        return int(self.units[space][(DTYPE(mask) & ~self.masks[space]) == 0].sum())


def _price(net: MultitaskGraph, counts: _Counts, workload: Mapping[int, float], space: str, mask: int) -> float:
    if mask == 0:
        return 0.0
    graph, spaces = net.graph, net.spaces
    # Owners for whom nobody reads the unit do not make it run.
    acting = 0
    for link in spaces.readers[space]:
        for other in map(int, counts.masks[spaces.space_of(link.reader)]):
            acting |= 0 if other & ~mask else other & net.serves[link.reader]
    price = 0.0
    for name in spaces.producers[space]:
        node = graph.by_name[name]
        reads = sum(seg.block * counts.readable(seg.space, mask) for seg in spaces.layouts[node.inputs[0]])
        price += _chance(workload, acting & net.serves[name]) * node.op.macs_per_link(graph.shapes[name]) * reads
    for node in graph.nodes:
        if isinstance(node.op, DepthwiseConv) and any(seg.space == space for seg in spaces.layouts[node.name]):
            price += _chance(workload, acting & net.serves[node.name]) * node.op.macs_per_link(graph.shapes[node.name])
    for link in spaces.readers[space]:
        per_link = link.block * graph.by_name[link.reader].op.macs_per_link(graph.shapes[link.reader])
        target = spaces.space_of(link.reader)
        for other, units in zip(counts.masks[target], counts.units[target], strict=True):
            if other and not int(other) & ~mask:
                price += per_link * int(units) * _chance(workload, int(other) & net.serves[link.reader])
    return price


def prices(net: MultitaskGraph, workload: Mapping[int, float]) -> Mapping[tuple[str, int], float]:
    """Expected multiply-accumulates of one unit by (space, owners), for all owners that a move can lead to."""
    counts = _Counts.of(net)
    table: dict[tuple[str, int], float] = {}
    for space in net.prunable:
        for mask in map(int, counts.masks[space]):
            for state in (mask, 0, *(mask & ~(1 << task) for task in members(mask))):
                if (space, state) not in table:
                    table[space, state] = _price(net, counts, workload, space, state)
    return table


def unit_price(net: MultitaskGraph, workload: Mapping[int, float]) -> Callable[[str, int], float]:
    """The expected multiply-accumulates of one unit, as a function of its space and its owners."""
    counts = _Counts.of(net)
    return cache(lambda space, mask: _price(net, counts, workload, space, mask))


@dataclass(frozen=True)
class _Candidates:
    """All moves as columns, the best first; ``clear`` is the mask of tasks that the unit loses."""

    fall: NDArray[np.float64]
    space: NDArray[np.intp]
    unit: NDArray[np.intp]
    clear: NDArray[np.uint32]


def _candidates(
    net: MultitaskGraph,
    saliency: Saliency,
    workload: Mapping[int, float],
    measured: Mapping[int, float],
    first: Mapping[str, NDArray[np.bool_]],
    spared: Mapping[str, Owners],
    rules: Rules,
) -> _Candidates:
    ranking = prices(net, workload)
    counting = ranking if measured is workload else prices(net, measured)
    found = [np.zeros((6, 0))]
    for number, space in enumerate(net.prunable):
        owners = net.owners[space]
        urgent = first.get(space, np.zeros(len(owners), dtype=bool))
        for mask in map(int, np.unique(owners)):
            if mask.bit_count() < rules.least_owners:
                continue
            units = np.flatnonzero(owners == mask)
            late = np.ones(len(units))
            moves = [(mask, saliency[space][-1, units], late - urgent[units])]
            if rules.releases and mask.bit_count() > 1:
                moves += [(1 << task, saliency[space][task, units], late) for task in members(mask)]
            for clear, stake, turn in moves:
                free = (spared[space][units] & DTYPE(clear)) == 0 if space in spared else slice(None)
                before, after = (space, mask), (space, mask & ~clear)
                saving, fall = ranking[before] - ranking[after], counting[before] - counting[after]
                if saving > 0 or (saving == 0 and fall > 0):
                    # What nobody asks for is still in the way of a budget that counts it: it goes last.
                    score = stake / max(saving, NOTHING) ** rules.exponent
                    rest = (np.full(len(units), value) for value in (fall, number, clear))
                    found.append(np.stack([turn, score, *rest, units])[:, free])
    turn, score, fall, number, clear, unit = np.concatenate(found, axis=1)
    order = np.lexsort((score, turn))
    return _Candidates(
        fall[order], number[order].astype(np.intp), unit[order].astype(np.intp), clear[order].astype(DTYPE)
    )


def prune_to(
    net: MultitaskGraph,
    saliency: Saliency,
    workload: Mapping[int, float],
    macs: float,
    rules: Rules = Rules(),
    *,
    measured: Mapping[int, float] | None = None,
    first: Mapping[str, NDArray[np.bool_]] | None = None,
    spared: Mapping[str, Owners] | None = None,
) -> MultitaskGraph:
    """Apply the moves with the least loss per cost saved until the network costs at most ``macs``.

    Moves are priced by ``workload``; ``macs`` are those expected under ``measured`` (the same, if None). Units in
    ``first``, ``{space: (units,)}``, are removed before any other move; a unit goes on serving the tasks in its mask in
    ``spared``, ``{space: (units,)}``, unless rounding to tiles removes it. Every task keeps at least ``rules.floor``
    units of each space that it uses, and every unit something to read. Returns the network with dead units still in
    it, as far as the moves lead: the cost may stay above ``macs`` when nothing is left to move.
    """
    goal = workload if measured is None else measured
    found = _candidates(net, saliency, workload, goal, first or {}, spared or {}, rules)
    draft = Draft(net, rules.floor)
    current = expected_macs(net, goal)
    position = 0
    while current > macs and position < len(found.fall):
        # Moves interact, so after each chunk of estimated savings the exact cost decides.
        estimate, chunk = 0.0, max((current - macs) * CHUNK, 1.0)
        while position < len(found.fall) and estimate < chunk:
            space = net.prunable[found.space[position]]
            if draft.clear(space, int(found.unit[position]), int(found.clear[position])):
                estimate += max(float(found.fall[position]), 0.0)
            position += 1
        current = expected_macs(replace(net, owners=draft.owners), goal)
    if rules.tile == 1:
        return net.with_owners(draft.owners)
    stakes = {space: saliency[space][-1] for space in net.prunable}
    return round_to_tiles(
        net,
        net.with_owners(draft.owners),
        stakes,
        rules.tile,
        rules.floor,
        lambda candidate: expected_macs(candidate, goal) <= macs,
    )
