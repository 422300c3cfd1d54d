"""Pruning-Aware Merging (KDD 2021, arXiv 1905.09676): Regroup every layer by what its units know.

A unit is exclusive to a task when it belongs to the units that know nothing of all the other tasks' labels; units
that know of several tasks are shared; units that know of none are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, tighten
from pamc.graph.interpret import evaluate
from pamc.graph.owners import DTYPE, Owners
from pamc.merge.activations import unit_activations
from pamc.merge.information import Labels, encode_labels, greedy_irrelevant, information
from pamc.merge.registry import METHODS, Calibration

__all__ = ["PamOptions", "pam", "regroup"]


@dataclass(frozen=True)
class PamOptions:
    """How Regroup decides.

    ``robust`` standardises each unit and stops at ``rho`` times the label entropy, which works at any scale;
    ``paper`` takes raw activations, noise variance 0.1 and the absolute threshold ``alpha`` in nats. ``flat`` has
    one shared group (N+1 groups, as in the paper); ``lattice`` keeps all 2^N - 1. The first ``shared`` of the
    layers (a fraction) is not regrouped and stays shared by all, as in the paper's networks. Every task owns at least
    ``keep`` of the units that its own network has in a layer (a fraction, at least one unit). At most 1024 ``samples``.
    """

    estimator: Literal["robust", "paper"] = "robust"
    rho: float = 0.3
    alpha: float = 0.2
    variance: float | None = None
    samples: int = 128
    groups: Literal["flat", "lattice"] = "flat"
    shared: float = 0.5
    keep: float = 0.2

    def __post_init__(self) -> None:
        if not all(0 <= value <= 1 for value in (self.rho, self.shared)) or not 0 < self.keep <= 1:
            raise ValueError("rho, shared and keep are fractions, between 0 and 1, and keep is not 0")
        if not 8 <= self.samples <= 1024:
            raise ValueError("samples must be from 8 to 1024")
        if self.variance is not None and self.variance <= 0:
            raise ValueError("variance must be positive")

    @property
    def noise(self) -> float:
        """Noise variance of the estimator."""
        return self.variance if self.variance is not None else (0.1 if self.estimator == "paper" else 3.0)


def standardised(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Activations ``(n, units)`` with unit variance, so that one noise variance suits them all."""
    scaled: NDArray[np.float64] = units / (units.std(axis=0) + 1e-6)
    return scaled


def regroup(units: NDArray[np.float64], labels: list[Labels], options: PamOptions) -> Owners:
    """Owners of the units of one layer, from activations ``(n, units)`` (standardised for ``robust``) and labels.

    Bit t is set when the unit is not among those irrelevant to task t; 0 means that it is dropped.
    """
    owners = np.zeros(units.shape[1], dtype=DTYPE)
    for task, known in enumerate(labels):
        threshold = options.rho * known.entropy if options.estimator == "robust" else options.alpha
        irrelevant = greedy_irrelevant(units, known, options.noise, threshold)
        owners |= np.where(irrelevant, 0, 1 << task).astype(DTYPE)
    return owners


def _keep_alive(
    owners: Owners, origin: Owners, units: NDArray[np.float64], labels: list[Labels], options: PamOptions
) -> Owners:
    """A task that would own too little of a layer gets back the units of its own network that know most about it."""
    owners = owners.copy()
    for task, known in enumerate(labels):
        bit = DTYPE(1 << task)
        own_units = np.flatnonzero(origin & bit)
        least = min(len(own_units), math.ceil(options.keep * len(own_units)))
        missing = least - int(((owners & bit) != 0).sum())
        if missing > 0:
            lost = own_units[(owners[own_units] & bit) == 0]
            order = np.argsort(-information(units[:, lost], known, options.noise), kind="stable")
            owners[lost[order[:missing]]] |= bit
    return owners


def _flat(owners: Owners, everyone: int) -> Owners:
    """Units of several tasks belong to all: N+1 groups."""
    several = (owners & (owners - DTYPE(1))) != 0
    return np.where(several, DTYPE(everyone), owners).astype(DTYPE)


def _feed(net: MultitaskGraph, owners: Mapping[str, Owners], flat: bool) -> Mapping[str, Owners]:
    """Give every group something to read: where no unit before it has all of its owners, the nearest one gets them.

    From the outputs towards the input, since a unit that gains owners needs more to read itself; again until nothing
    changes, since the layers of a residual stage read each other.
    """
    fed = {space: vector.copy() for space, vector in {**net.owners, **owners}.items()}
    readers = [node for node in reversed(net.graph.nodes) if "in" in node.op.param_axes.get("weight", ())]
    changed = True
    while changed:
        changed = False
        for node in readers:
            inputs = [seg.space for seg in net.spaces.layouts[node.inputs[0]]]
            for mask in map(int, np.unique(fed[net.spaces.space_of(node.name)])):
                if not mask or any(((fed[space] & DTYPE(mask)) == DTYPE(mask)).any() for space in inputs):
                    continue
                overlap = [np.bitwise_count(fed[space] & DTYPE(mask)) for space in inputs]
                nearest = max(range(len(inputs)), key=lambda at: int(overlap[at].max(initial=0)))
                vector = fed[inputs[nearest]]
                vector[overlap[nearest].argmax()] |= DTYPE(mask)
                fed[inputs[nearest]] = _flat(vector, net.everyone) if flat else vector
                changed = True
    return fed


def _labels(net: MultitaskGraph, calibration: Calibration, count: int) -> list[Labels]:
    x = calibration.x[:count]
    answers: Mapping[str, NDArray[np.floating]] = {}
    if any(task not in calibration.labels for task in net.tasks):
        answers = {task: output.numpy() for task, output in evaluate(net.graph, x).items()}
    encoded = []
    for task in net.tasks:
        kind = calibration.kinds[task]
        if task in calibration.labels:
            values: NDArray[np.generic] = calibration.labels[task][:count]
        else:
            values = answers[task].argmax(axis=1) if kind == "class" else answers[task]
        encoded.append(encode_labels(values, kind))
    return encoded


@METHODS.register("pam", options=PamOptions)
def pam(net: MultitaskGraph, calibration: Calibration, options: PamOptions) -> MultitaskGraph:
    """Pruning-Aware Merging: group units by the tasks whose labels they know, shared units in one group."""
    count = min(options.samples, len(calibration.x))
    labels = _labels(net, calibration, count)
    seen = unit_activations(net, calibration.x[:count])
    if options.estimator == "robust":
        seen = {space: standardised(units) for space, units in seen.items()}
    untouched = list(seen)[: round(options.shared * len(seen))]
    owners = {space: np.full(net.spaces.sizes[space], net.everyone, DTYPE) for space in untouched}
    flat = options.groups == "flat"
    with calibration.progress.track(len(seen) - len(untouched), "Regroup") as bar:
        for space, units in seen.items():
            if space in untouched:
                continue
            kept = _keep_alive(regroup(units, labels, options), net.owners[space], units, labels, options)
            owners[space] = _flat(kept, net.everyone) if flat else kept
            bar.advance(1, space)
    return tighten(net.with_owners(_feed(net, owners, flat)))
