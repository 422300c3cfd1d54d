"""How far a network is from the condition under which pruning is optimal for every task set (docs/methods.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, costs, name_of
from pamc.graph.owners import DTYPE, groups, members
from pamc.merge.activations import unit_activations
from pamc.merge.information import Labels, encode_labels
from pamc.merge.regroup import RegroupOptions, standardised
from pamc.prune.sharing import responses
from pamc.redundancy.evidence import importance, twins
from pamc.redundancy.findings import Duplicate, Gain, Group, Knowledge, Layer, PartlyNeeded, Redundancy
from pamc.redundancy.knowledge import knowledge
from pamc.redundancy.remedy import Changes, feasible, remedied
from pamc.scoring import KINDS, truth_of
from pamc.train import Samples, Target

__all__ = ["IMPORTANCE", "SAMPLES", "SIMILARITY", "analyse"]

SAMPLES = 256
SIMILARITY = 0.95
IMPORTANCE = 0.05


def analyse(
    net: MultitaskGraph, samples: Samples, targets: Sequence[Target], requests: Sequence[int], seed: int
) -> Redundancy:
    """Judge a network by training samples, labelled or with the original networks' answers as their teacher.

    Duplicates are units with disjoint owners whose readers see values with an absolute correlation of at least
    ``SIMILARITY``. A shared unit is partly needed when its importance to
    one of its owners is below ``IMPORTANCE``. Gains are exact costs of ``requests`` (masks).
    """
    labels = {target.task: encode_labels(truth_of(target, samples), KINDS[target.loss]) for target in targets}
    matters = importance(net, samples.x, seed)
    needed = {space: _needed(net, space, found) for space, found in matters.items()}
    pairs = {
        space: twins(seen.correlation, net.owners[space], SIMILARITY)
        for space, seen in responses(net, samples.x).items()
    }
    wanted = _changes(net, matters, needed, pairs)
    applied = feasible(net, wanted)
    before, after = costs(net), costs(remedied(net, applied))
    known = unit_activations(net, samples.x)
    return Redundancy(
        samples=len(samples),
        seed=seed,
        similarity=SIMILARITY,
        importance=IMPORTANCE,
        entropy={task: _rounded(labels[task].entropy) for task in net.tasks},
        layers=tuple(
            Layer(
                space,
                _groups(net, space, standardised(known[space]), labels, seed),
                tuple(
                    Duplicate(
                        one,
                        name_of(int(net.owners[space][one]), net.tasks),
                        twin,
                        name_of(int(net.owners[space][twin]), net.tasks),
                        _rounded(correlation),
                        (space, one) in applied.unite,
                    )
                    for one, twin, correlation in sorted(pairs[space])
                ),
                tuple(
                    _partly_needed(net, space, unit, matters[space], kept, (space, unit) in applied.release)
                    for (place, unit), kept in sorted(wanted.release.items())
                    if place == space
                ),
            )
            for space in net.prunable
        ),
        gains={name_of(request, net.tasks): Gain(before[request].macs, after[request].macs) for request in requests},
    )


def _rounded(value: float) -> float:
    """Four digits: what follows depends on the machine's arithmetic."""
    return float(f"{value:.4g}")


def _needed(net: MultitaskGraph, space: str, matters: NDArray[np.float64]) -> NDArray[np.uint32]:
    """The owners of each unit that it matters to."""
    bits = np.left_shift(DTYPE(1), np.arange(len(net.tasks), dtype=DTYPE))
    needed: NDArray[np.uint32] = ((matters >= IMPORTANCE) * bits[:, None]).sum(axis=0).astype(DTYPE)
    return net.owners[space] & needed


def _changes(
    net: MultitaskGraph,
    matters: Mapping[str, NDArray[np.float64]],
    needed: Mapping[str, NDArray[np.uint32]],
    pairs: Mapping[str, Sequence[tuple[int, int, float]]],
) -> Changes:
    """All that the findings ask for: releases by what they may cost, and pairs."""
    release = []
    for space in net.prunable:
        owners = net.owners[space]
        shared = (owners & (owners - DTYPE(1))) != 0
        for unit in map(int, np.flatnonzero(shared & (needed[space] != owners))):
            lost = int(owners[unit] & ~needed[space][unit])
            stake = max(float(matters[space][task, unit]) for task in members(lost))
            release.append((stake, space, unit))
    return Changes(
        {(space, unit): int(needed[space][unit]) for _, space, unit in sorted(release)},
        {(space, one): twin for space, found in pairs.items() for one, twin, _ in found},
    )


def _groups(
    net: MultitaskGraph, space: str, units: NDArray[np.float64], labels: Mapping[str, Labels], seed: int
) -> tuple[Group, ...]:
    """The groups of a layer with what each knows about the tasks that do not own it."""
    variance = RegroupOptions().noise
    found = []
    for mask, index in groups(net.owners[space]).items():
        others = [net.tasks[task] for task in members(net.everyone & ~mask)]
        measured = [(task, knowledge(units[:, index], labels[task], variance, seed)) for task in others]
        knows = tuple(Knowledge(task, *map(_rounded, numbers)) for task, numbers in measured)
        found.append(Group(name_of(mask, net.tasks), len(index), knows))
    return tuple(found)


def _partly_needed(
    net: MultitaskGraph, space: str, unit: int, matters: NDArray[np.float64], kept: int, released: bool
) -> PartlyNeeded:
    owners = int(net.owners[space][unit])
    return PartlyNeeded(
        unit,
        name_of(owners, net.tasks),
        name_of(kept, net.tasks),
        {net.tasks[task]: _rounded(float(matters[task, unit])) for task in members(owners)},
        released,
    )
