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
from pamc.graph.owners import DTYPE, members

__all__ = ["Saliency", "prices", "prune_to", "unit_price"]

Saliency = Mapping[str, NDArray[np.float64]]
"""``{space: (tasks + 1, units)}``: the loss at stake when a task releases a unit; last row: when it is removed."""

CHUNK = 0.25


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
    """All moves as columns; ``clear`` is the mask of tasks that the unit loses."""

    score: NDArray[np.float64]
    saving: NDArray[np.float64]
    space: NDArray[np.intp]
    unit: NDArray[np.intp]
    clear: NDArray[np.uint32]


def _candidates(
    net: MultitaskGraph, saliency: Saliency, workload: Mapping[int, float], releases: bool, exponent: float
) -> _Candidates:
    table = prices(net, workload)
    columns: list[tuple[NDArray[np.float64], float, int, NDArray[np.intp], int]] = []
    for number, space in enumerate(net.prunable):
        owners = net.owners[space]
        for mask in map(int, np.unique(owners)):
            if mask == 0:
                continue
            units = np.flatnonzero(owners == mask)
            moves = [(mask, saliency[space][-1, units])]
            if releases and mask.bit_count() > 1:
                moves += [(1 << task, saliency[space][task, units]) for task in members(mask)]
            for clear, stake in moves:
                saving = table[space, mask] - table[space, mask & ~clear]
                if saving > 0:
                    columns.append((stake / saving**exponent, saving, number, units, clear))
    if not columns:
        empty = np.zeros(0)
        return _Candidates(empty, empty, empty.astype(np.intp), empty.astype(np.intp), empty.astype(DTYPE))
    found = _Candidates(
        np.concatenate([score for score, *_ in columns]),
        np.concatenate([np.full(len(units), saving) for _, saving, _, units, _ in columns]),
        np.concatenate([np.full(len(units), number) for _, _, number, units, _ in columns]).astype(np.intp),
        np.concatenate([units for *_, units, _ in columns]).astype(np.intp),
        np.concatenate([np.full(len(units), clear) for *_, units, clear in columns]).astype(DTYPE),
    )
    order = np.argsort(found.score, kind="stable")
    return _Candidates(*(column[order] for column in vars(found).values()))


class _State:
    """Owners on the move, and what no move may break: each task's floor, and a unit to read for every reader."""

    def __init__(self, net: MultitaskGraph, floor: int) -> None:
        self.net = net
        self.floor = floor
        self.owners = {space: vector.copy() for space, vector in net.owners.items()}
        self.left = {
            space: [int((vector >> DTYPE(task) & DTYPE(1)).sum()) for task in range(len(net.tasks))]
            for space, vector in self.owners.items()
        }

    def clear(self, space: str, unit: int, clear: int) -> bool:
        """Clear owners of one unit, unless that breaks something."""
        old = int(self.owners[space][unit])
        lost = list(members(old & clear))
        if not lost or any(self.left[space][task] <= self.floor for task in lost):
            return False
        self.owners[space][unit] = DTYPE(old & ~clear)
        if self._starves(space, old, old & ~clear):
            self.owners[space][unit] = DTYPE(old)
            return False
        for task in lost:
            self.left[space][task] -= 1
        return True

    def _starves(self, space: str, old: int, new: int) -> bool:
        """Whether some unit could read only the one that changed."""
        spaces = self.net.spaces
        for link in spaces.readers[space]:
            inputs = {seg.space for seg in spaces.layouts[self.net.graph.by_name[link.reader].inputs[0]]}
            for mask in map(int, np.unique(self.owners[spaces.space_of(link.reader)])):
                if not mask or mask & ~old or not mask & ~new:
                    continue
                if not any(((self.owners[name] & DTYPE(mask)) == DTYPE(mask)).any() for name in inputs):
                    return True
        return False


def prune_to(
    net: MultitaskGraph,
    saliency: Saliency,
    workload: Mapping[int, float],
    macs: float,
    *,
    releases: bool = True,
    exponent: float = 0.5,
    floor: int = 1,
) -> MultitaskGraph:
    """Apply the moves with the least loss per cost saved until the expected cost is at most ``macs``.

    Every task keeps at least ``floor`` units of each space that it uses, and every unit something to read. Returns
    the network with dead units still in it, as far as the moves lead: the cost may stay above ``macs`` when nothing
    is left to move.
    """
    found = _candidates(net, saliency, workload, releases, exponent)
    state = _State(net, floor)
    current = expected_macs(net, workload)
    position = 0
    while current > macs and position < len(found.score):
        # Moves interact, so after each chunk of estimated savings the exact cost decides.
        estimate, chunk = 0.0, max((current - macs) * CHUNK, 1.0)
        while position < len(found.score) and estimate < chunk:
            space = net.prunable[found.space[position]]
            if state.clear(space, int(found.unit[position]), int(found.clear[position])):
                estimate += float(found.saving[position])
            position += 1
        # Costs do not look at weights, which are masked once, at the end.
        current = expected_macs(replace(net, owners={**net.owners, **state.owners}), workload)
    return net.with_owners(state.owners)
