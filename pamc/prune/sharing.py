"""The third move: two near-equal units of different tasks become one shared unit.

The shared unit has the owners of both and reads, by the read rule, only units that all of them own; whoever read
either of the two reads it. No task set can cost more afterwards, so what is left to pay is accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, Node, expected_macs
from pamc.graph.interpret import read_values
from pamc.graph.owners import DTYPE, Owners, may_read
from pamc.prune.moves import Saliency, unit_price

__all__ = ["Responses", "responses", "share_to"]

CHUNK = 0.25


@dataclass(frozen=True)
class Responses:
    """What readers see of each unit of a space on calibration samples: ``mean`` is ``(units,)``, ``products``
    ``(units, units)`` the sums of products of the deviations from it."""

    mean: NDArray[np.float64]
    products: NDArray[np.float64]

    @property
    def correlation(self) -> NDArray[np.float64]:
        """``(units, units)``; 0 for units that never change."""
        norm = np.maximum(np.sqrt(self.products.diagonal()), 1e-12)
        answer: NDArray[np.float64] = self.products / norm / norm[:, None]
        return answer

    def slope(self, kept: int, gone: int) -> float:
        """Least-squares factor by which the kept unit stands in for the other."""
        energy = float(self.products[kept, kept])
        return float(self.products[kept, gone]) / energy if energy > 1e-12 else 0.0


def responses(net: MultitaskGraph, x: NDArray[np.generic]) -> Mapping[str, Responses]:
    """Responses of every prunable space at the places where it is read."""
    found: dict[str, _Sums] = {}
    for seen in read_values(net, x):
        for space, places in seen.items():
            values = [place.transpose(0, 1).flatten(1).to(torch.float64).numpy() for place in places]
            table = np.concatenate(values, axis=1)
            found.setdefault(space, _Sums(table.mean(axis=1))).add(table)
    return {space: sums.responses() for space, sums in found.items()}


class _Sums:
    """Sums over values that come in parts, of deviations from a first guess of the mean: so nothing cancels."""

    def __init__(self, guess: NDArray[np.float64]) -> None:
        self.guess = guess
        self.count = 0
        self.total = np.zeros_like(guess)
        self.products = np.zeros((len(guess), len(guess)))

    def add(self, table: NDArray[np.float64]) -> None:
        moved = table - self.guess[:, None]
        self.count += moved.shape[1]
        self.total += moved.sum(axis=1)
        self.products += moved @ moved.T

    def responses(self) -> Responses:
        shift = self.total / self.count
        return Responses(self.guess + shift, self.products - np.outer(self.total, shift))


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two units of a space that may become one: the owners of both, the loss at stake, their correlation, and the
    expected multiply-accumulates saved."""

    space: str
    kept: int
    gone: int
    owners: int
    stake: float
    alike: float
    saving: float


@dataclass(frozen=True, slots=True)
class _Move:
    """Pairs that are shared together; ``score`` is what they may cost in accuracy per saving."""

    pairs: tuple[_Pair, ...]
    score: float

    @classmethod
    def of(cls, pairs: Sequence[_Pair], covered: Sequence[float], exponent: float) -> _Move:
        """``covered``: of each pair the coverage after the move."""
        lost = [
            pair.stake * np.sqrt(max(0.0, 1.0 - pair.alike**2 * part))
            for pair, part in zip(pairs, covered, strict=True)
        ]
        return cls(tuple(pairs), float(sum(lost)) / sum(pair.saving for pair in pairs) ** exponent)

    @property
    def ends(self) -> frozenset[tuple[str, int]]:
        """The units, by space and number."""
        return frozenset((pair.space, unit) for pair in self.pairs for unit in (pair.kept, pair.gone))

    @property
    def rank(self) -> tuple[object, ...]:
        """The key to sort by; no two moves have the same."""
        return (self.score, [(pair.space, pair.kept, pair.gone) for pair in self.pairs])


def _readable(net: MultitaskGraph, pair: _Pair) -> Iterator[tuple[Node, NDArray[np.bool_]]]:
    """The layers that make the shared unit, and which of their input channels it may read."""
    shared = np.array([pair.owners], DTYPE)
    for name in net.spaces.producers[pair.space]:
        node = net.graph.by_name[name]
        yield node, may_read(shared, net.owners_along(node.inputs[0]))[0]


def _coverage(net: MultitaskGraph, pair: _Pair) -> float:
    """Share of the energy of the unit's incoming weights that it may still read when the tasks of both own it.

    0 when one of its layers would have nothing to read at all.
    """
    kept = total = 0.0
    for node, allowed in _readable(net, pair):
        energy = np.square(net.graph.array(node, "weight")[pair.kept].astype(np.float64))
        energy = energy.reshape(len(energy), -1).sum(axis=1)
        if not allowed.any():
            return 0.0
        kept, total = kept + float(energy[allowed].sum()), total + float(energy.sum())
    return kept / total if total > 0 else 1.0


def _pairs(
    net: MultitaskGraph,
    seen: Mapping[str, Responses],
    saliency: Saliency,
    workload: Mapping[int, float],
    similarity: float,
) -> Iterator[_Pair]:
    """All pairs of units of different tasks that are alike and save something."""
    price = unit_price(net, workload)
    for space in net.prunable:
        owners = net.owners[space]
        alike = seen[space].correlation
        stake = saliency[space][-1]
        for one, other in zip(*np.nonzero(np.triu(alike >= similarity, 1)), strict=True):
            first, second = int(owners[one]), int(owners[other])
            if first & second:
                continue
            saving = price(space, first) + price(space, second) - price(space, first | second)
            kept, gone = (one, other) if stake[one] >= stake[other] else (other, one)
            if saving > 0:
                lost = float(stake[one] + stake[other])
                yield _Pair(space, int(kept), int(gone), first | second, lost, float(alike[one, other]), saving)


def _joined(net: MultitaskGraph, pairs: Iterable[_Pair]) -> MultitaskGraph:
    """Owners with the pairs shared, weights as they were."""
    owners = {space: vector.copy() for space, vector in net.owners.items()}
    for pair in pairs:
        owners[pair.space][pair.kept] = pair.owners
        owners[pair.space][pair.gone] = 0
    return replace(net, owners=owners)


def _stage(net: MultitaskGraph, first: _Pair, starved: Mapping[tuple[str, int], Sequence[_Pair]]) -> frozenset[str]:
    """The spaces in which units must become shared together, for ``first`` to have something to read in every layer.

    In a residual stage the stream and the inner layers read each other: none can begin alone. Empty where ``first``
    waits for a layer that can begin alone, or that has no such pair.
    """
    chosen = {first.space: first}
    while True:
        joined = _joined(net, chosen.values())
        missing = {
            segment.space
            for pair in chosen.values()
            for node, allowed in _readable(joined, pair)
            if not allowed.any()
            for segment in net.spaces.layouts[node.inputs[0]]
        }
        if not missing:
            return frozenset(chosen)
        more = {space: starved[space, first.owners][0] for space in missing if (space, first.owners) in starved}
        if not more:
            return frozenset()
        chosen |= more


def _matched(pairs: Iterable[_Pair], exponent: float) -> Mapping[tuple[str, int], Sequence[_Pair]]:
    """Pairs by space and owners, the best first, those of the same owners without a unit in common."""
    found: dict[tuple[str, int], list[_Pair]] = {}
    taken: set[tuple[str, int, int]] = set()
    for pair in sorted(pairs, key=lambda pair: _Move.of([pair], [1.0], exponent).rank):
        ends = {(pair.space, pair.owners, unit) for unit in (pair.kept, pair.gone)}
        if not ends & taken:
            taken |= ends
            found.setdefault((pair.space, pair.owners), []).append(pair)
    return found


def _moves(net: MultitaskGraph, pairs: Iterable[_Pair], exponent: float) -> list[_Move]:
    """Candidates, the best first: single pairs, and of stages that none can begin alone 1, 2, 4 ... pairs a space."""
    found, starving = [], []
    for pair in pairs:
        covered = _coverage(net, pair)
        if covered > 0:
            found.append(_Move.of([pair], [covered], exponent))
        else:
            starving.append(pair)
    starved = _matched(starving, exponent)
    stages = {(_stage(net, first, starved), first.owners) for first, *_ in starved.values()}
    for stage, owners in stages:
        ranked = [starved[space, owners] for space in sorted(stage)]
        most = max(map(len, ranked), default=0)
        for size in (1 << power for power in range(most.bit_length())):
            together = [pair for column in ranked for pair in column[: most if 2 * size > most else size]]
            joined = _joined(net, together)
            found.append(_Move.of(together, [_coverage(joined, pair) for pair in together], exponent))
    return sorted(found, key=lambda move: move.rank)


def _redirect(params: dict[str, NDArray[np.floating]], net: MultitaskGraph, pair: _Pair, seen: Responses) -> None:
    """Let the readers of the unit that goes read the one that stays, rescaled, with the difference of the means."""
    slope = seen.slope(pair.kept, pair.gone)
    shift = float(seen.mean[pair.gone] - slope * seen.mean[pair.kept])
    for link in net.spaces.readers[pair.space]:
        node = net.graph.by_name[link.reader]
        weight = params[node.params["weight"]]
        gone = slice(link.start + pair.gone * link.block, link.start + (pair.gone + 1) * link.block)
        kept = slice(link.start + pair.kept * link.block, link.start + (pair.kept + 1) * link.block)
        moved = weight[:, gone].copy()
        weight[:, kept] += slope * moved
        weight[:, gone] = 0
        if "bias" in node.params:
            params[node.params["bias"]] += shift * moved.reshape(len(moved), -1).sum(axis=1)


def share_to(
    net: MultitaskGraph,
    x: NDArray[np.generic],
    saliency: Saliency,
    workload: Mapping[int, float],
    macs: float,
    *,
    exponent: float = 0.5,
    similarity: float = 0.3,
    spared: Mapping[str, Owners] | None = None,
) -> Iterator[MultitaskGraph]:
    """Share pairs of units until the expected cost is at most ``macs``, as far as similar pairs last.

    Yields the network with the best moves, then that without the best one, then without the best two, and so on; the
    network as it is where there is none. ``x`` are calibration samples ``(n, *input shape)``; units are similar from a
    correlation of ``similarity`` on. Units with a mask in ``spared``, ``{space: (units,)}``, stay as they are. Those
    that went are left dead.
    """
    seen = responses(net, x)
    moves = [
        move
        for move in _moves(net, _pairs(net, seen, saliency, workload, similarity), exponent)
        if not spared or not any(spared[space][unit] for space, unit in move.ends)
    ]
    for first in range(max(1, len(moves))):
        yield _shared(net, moves[first:], seen, workload, macs)


def _shared(
    net: MultitaskGraph,
    moves: Iterable[_Move],
    seen: Mapping[str, Responses],
    workload: Mapping[int, float],
    macs: float,
) -> MultitaskGraph:
    """The moves one after another, of units that none before has touched, until the cost is met."""
    params = {key: np.array(array) for key, array in net.graph.params.items()}
    shared: list[_Pair] = []
    touched: set[tuple[str, int]] = set()
    current, estimate = expected_macs(net, workload), 0.0
    for move in moves:
        if current <= macs:
            break
        if move.ends & touched:
            continue
        touched |= move.ends
        for pair in move.pairs:
            _redirect(params, net, pair, seen[pair.space])
            estimate += pair.saving
        shared += move.pairs
        if estimate >= CHUNK * max(current - macs, 1.0):
            current, estimate = expected_macs(_joined(net, shared), workload), 0.0
    return _joined(net, shared).with_params(params)
