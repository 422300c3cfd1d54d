"""Regroup of Pruning-Aware Merging (KDD 2021, arXiv 1905.09676): owners of units by what they know.

A unit is exclusive to a task when it belongs to the units that know nothing of all the other tasks' labels; units
that know of several tasks are shared; units that know of none are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Linear
from pamc.graph.owners import DTYPE, Owners
from pamc.merge.activations import unit_activations
from pamc.merge.information import Labels, encode_labels, information, irrelevant
from pamc.merge.registry import Calibration

__all__ = ["RegroupOptions", "labels_of", "regroup", "regroup_layers", "standardised"]


@dataclass(frozen=True)
class RegroupOptions:
    """How Regroup decides.

    ``robust`` standardises each unit and stops at ``rho`` times the label entropy, which works at any scale;
    ``paper`` takes raw activations, noise variance 0.1 and an absolute threshold in nats: ``alpha``, and ``alpha_fc``
    for the units of linear layers when it is given. The first ``shared`` of the layers (a fraction) is not regrouped
    and stays shared by all, as in the paper's networks. Every task owns at least ``keep`` of the units that its own
    network has in a layer (a fraction, at least one unit). At most 1024 ``samples``.
    """

    estimator: Literal["robust", "paper"] = "robust"
    rho: float = 0.3
    alpha: float = 0.2
    alpha_fc: float | None = None
    variance: float | None = None
    samples: int = 128
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

    def threshold(self, labels: Labels, linear: bool) -> float:
        """Nats about a task's labels up to which units count as irrelevant together."""
        if self.estimator == "robust":
            return self.rho * labels.entropy
        return self.alpha_fc if linear and self.alpha_fc is not None else self.alpha


def standardised(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Activations ``(n, units)`` with unit variance, so that one noise variance suits them all."""
    scaled: NDArray[np.float64] = units / (units.std(axis=0) + 1e-6)
    return scaled


def regroup(
    units: NDArray[np.float64], labels: Sequence[Labels], options: RegroupOptions, *, linear: bool = False
) -> Owners:
    """Owners of the units of one layer, from raw activations ``(n, units)`` and labels.

    Bit t is set when the unit is not among those irrelevant to task t; 0 means that it is dropped.
    """
    seen = standardised(units) if options.estimator == "robust" else units
    thresholds = [options.threshold(known, linear) for known in labels]
    owners = np.zeros(units.shape[1], dtype=DTYPE)
    for task, unknowing in enumerate(irrelevant(seen, labels, options.noise, thresholds)):
        owners |= np.where(unknowing, 0, 1 << task).astype(DTYPE)
    return owners


def _keep_alive(
    owners: Owners,
    origin: Owners,
    units: NDArray[np.float64],
    labels: Sequence[Labels],
    options: RegroupOptions,
) -> Owners:
    """A task that would own too little of a layer gets back the units of its own network that know most about it."""
    seen = standardised(units) if options.estimator == "robust" else units
    owners = owners.copy()
    for task, known in enumerate(labels):
        bit = DTYPE(1 << task)
        own_units = np.flatnonzero(origin & bit)
        least = min(len(own_units), math.ceil(options.keep * len(own_units)))
        missing = least - int(((owners & bit) != 0).sum())
        if missing > 0:
            lost = own_units[(owners[own_units] & bit) == 0]
            order = np.argsort(-information(seen[:, lost], known, options.noise), kind="stable")
            owners[lost[order[:missing]]] |= bit
    return owners


def labels_of(net: MultitaskGraph, calibration: Calibration, count: int) -> list[Labels]:
    """The labels of each task of the first ``count`` samples, or what its network answers where there are none."""
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


def regroup_layers(net: MultitaskGraph, calibration: Calibration, options: RegroupOptions) -> dict[str, Owners]:
    """Owners of every prunable space that is read: all tasks in the first layers, then each layer regrouped alone.

    Every task that has a layer owns some of its units. The groups are any of the 2^N - 1.
    """
    count = min(options.samples, len(calibration.x))
    labels = labels_of(net, calibration, count)
    seen = unit_activations(net, calibration.x[:count])
    layers = list(seen)
    first = round(options.shared * len(layers))
    owners = {space: np.full(net.spaces.sizes[space], net.everyone, DTYPE) for space in layers[:first]}
    with calibration.progress.track(len(layers) - first, "Regroup") as bar:
        for space in layers[first:]:
            linear = isinstance(net.graph.by_name[net.spaces.producers[space][0]].op, Linear)
            found = regroup(seen[space], labels, options, linear=linear)
            owners[space] = _keep_alive(found, net.owners[space], seen[space], labels, options)
            bar.advance(1, space)
    return owners
