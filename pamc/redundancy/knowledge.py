"""What groups of units know about labels, by the estimator of Regroup, and what chance would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pamc.merge.information import Labels

__all__ = ["group_information", "knowledge"]

SHUFFLES = 16


def group_information(units: NDArray[np.float64], labels: Sequence[Labels], variance: float) -> NDArray[np.float64]:
    """I(all units together; Y) in nats for each of several labellings of the same samples; ``units`` is ``(n, units)``.

    1/N sum over samples i and their classes c of ln( (R_ic / R_i) / (N_c / N) ), with R_i the sum of
    exp(-|x_i - x_j|^2 / (2 s2)) over all samples j, R_ic that over the samples of class c, and N_c their number.
    """
    energy = np.square(units).sum(axis=1)
    distance = energy[:, None] + energy[None, :] - 2 * units @ units.T
    kernel = np.exp(-np.maximum(distance, 0) / (2 * variance))
    total = kernel.sum(axis=1)
    found = []
    for known in labels:
        sample, label = np.nonzero(known.member)
        within = (kernel @ known.member)[sample, label] / total[sample]
        share = known.member.mean(axis=0)[label]
        found.append(np.log(within / share).sum() / len(units))
    return np.array(found)


def knowledge(units: NDArray[np.float64], labels: Labels, variance: float, seed: int) -> tuple[float, float, float]:
    """I(units; Y) in nats, and the mean and standard deviation of its estimates for labels in random order.

    The estimate is biased: with many units even noise seems to know all labels. Only what exceeds the estimates for
    shuffled labels says something.
    """
    rng = np.random.default_rng(seed)
    mixed = [Labels(rng.permutation(labels.member), labels.components) for _ in range(SHUFFLES)]
    found, *chance = group_information(units, [labels, *mixed], variance)
    return float(found), float(np.mean(chance)), float(np.std(chance))
