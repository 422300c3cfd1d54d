"""The third move: two near-equal units of different tasks become one shared unit.

The shared unit has the owners of both and reads, by the read rule, only units that all of them own; whoever read
either of the two reads it. No task set can cost more afterwards, so what is left to pay is accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, expected_macs
from pamc.graph.interpret import read_values
from pamc.graph.owners import DTYPE, Owners
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


def _coverage(net: MultitaskGraph, space: str, unit: int, owners: int) -> float:
    """Share of the energy of a unit's incoming weights that it may still read with these owners.

    0 when one of its layers would have nothing to read at all. (In a residual stage the stream and the inner layers
    read each other, so a pair of either alone is always refused there.)
    """
    kept = total = 0.0
    for name in net.spaces.producers[space]:
        node = net.graph.by_name[name]
        energy = np.square(net.graph.array(node, "weight")[unit].astype(np.float64))
        energy = energy.reshape(len(energy), -1).sum(axis=1)
        allowed = (net.owners_along(node.inputs[0]) & DTYPE(owners)) == DTYPE(owners)
        if not allowed.any():
            return 0.0
        kept, total = kept + float(energy[allowed].sum()), total + float(energy.sum())
    return kept / total if total > 0 else 1.0


@dataclass(frozen=True, slots=True)
class _Pair:
    score: float
    saving: float
    space: str
    kept: int
    gone: int


def _pairs(
    net: MultitaskGraph,
    seen: Mapping[str, Responses],
    saliency: Saliency,
    workload: Mapping[int, float],
    exponent: float,
    similarity: float,
) -> list[_Pair]:
    """Candidates by what they may cost in accuracy per saving, the best first."""
    found = []
    price = unit_price(net, workload)
    for space in net.prunable:
        owners = net.owners[space]
        alike = seen[space].correlation
        stake = saliency[space][-1]
        for one, other in zip(*np.nonzero(np.triu(alike, 1) >= similarity), strict=True):
            first, second = int(owners[one]), int(owners[other])
            if first & second:
                continue
            saving = price(space, first) + price(space, second) - price(space, first | second)
            kept, gone = (one, other) if stake[one] >= stake[other] else (other, one)
            covered = _coverage(net, space, int(kept), first | second)
            if saving <= 0 or covered == 0.0:
                continue
            lost = np.sqrt(max(0.0, 1.0 - alike[one, other] ** 2 * covered))
            score = float((stake[one] + stake[other]) * lost / saving**exponent)
            found.append(_Pair(score, saving, space, int(kept), int(gone)))
    return sorted(found, key=lambda pair: (pair.score, pair.space, pair.kept, pair.gone))


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
) -> MultitaskGraph:
    """Share pairs of units until the expected cost is at most ``macs``, as far as similar pairs last.

    ``x`` are calibration samples ``(n, *input shape)``; units are similar from a correlation of ``similarity`` on.
    Units with a mask in ``spared``, ``{space: (units,)}``, stay as they are. Those that went are left dead.
    """
    seen = responses(net, x)
    pairs = _pairs(net, seen, saliency, workload, exponent, similarity)
    owners = {space: net.owners[space].copy() for space in net.prunable}
    params = {key: np.array(array) for key, array in net.graph.params.items()}
    touched: set[tuple[str, int]] = set()
    current, estimate = expected_macs(net, workload), 0.0
    for pair in pairs:
        if current <= macs:
            break
        ends = {(pair.space, pair.kept), (pair.space, pair.gone)}
        if ends & touched or (spared and (spared[pair.space][[pair.kept, pair.gone]]).any()):
            continue
        touched |= ends
        _redirect(params, net, pair, seen[pair.space])
        owners[pair.space][pair.kept] |= owners[pair.space][pair.gone]
        owners[pair.space][pair.gone] = 0
        estimate += pair.saving
        if estimate >= CHUNK * max(current - macs, 1.0):
            current, estimate = expected_macs(replace(net, owners={**net.owners, **owners}), workload), 0.0
    return replace(net, owners={**net.owners, **owners}).with_params(params)
