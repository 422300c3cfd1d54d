"""Mutual information between units and labels, by pairwise distances.

The entropy of samples with Gaussian noise is bounded by its pairwise-distance (KL) estimate (Kolchinsky & Tracey,
"Estimating Mixture Entropy with Pairwise Distances", Entropy 2017, section 4):

    H(x) = d/2 + d/2 ln(2 pi s2) - 1/N sum_i ln( 1/N sum_j exp(-|x_i - x_j|^2 / (2 s2)) )

and I(x; Y) = sum over the label components k of H(x) - sum_v p(Y_k = v) H(x | Y_k = v). The terms in d cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Labels", "encode_labels", "greedy_irrelevant", "information"]

REAL_BINS = 4


@dataclass(frozen=True)
class Labels:
    """Label components as indicator columns: ``member[i, c]`` says that sample i is in class c of its component."""

    member: NDArray[np.float64]
    components: int

    @property
    def entropy(self) -> float:
        """Sum over components of the empirical label entropy, in nats: the ceiling of the information."""
        share = self.member.mean(axis=0)
        share = share[share > 0]
        return float(-(share * np.log(share)).sum())


def encode_labels(values: NDArray[np.generic], kind: str) -> Labels:
    """Class numbers ``(n,)``, binary targets ``(n, k)`` (0/1 or -1/+1), or real targets cut into equal bins."""
    if kind == "class":
        columns = [values == label for label in np.unique(values)]
        return Labels(np.stack(columns, axis=1).astype(np.float64), 1)
    flat = values.reshape(len(values), -1).astype(np.float64)
    if kind == "binary":
        member = np.concatenate([flat > 0, flat <= 0], axis=1)
    else:
        cuts = np.quantile(flat, np.arange(1, REAL_BINS) / REAL_BINS, axis=0)
        bins = (flat[None] > cuts[:, None]).sum(axis=0)
        member = np.concatenate([bins == value for value in range(REAL_BINS)], axis=1)
    return Labels(member.astype(np.float64), flat.shape[1])


def _kernels(units: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    """``(sample i, unit, sample j)``: exp(-(x_i - x_j)^2 / (2 s2)) of every single unit."""
    gap = units[:, :, None] - units.T[None, :, :]
    return np.exp(-np.square(gap) / (2 * variance))


def _information(kernels: NDArray[np.float64], joint: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """I(set + unit; Y) for every unit, where ``joint[i, j]`` is the kernel of the set so far."""
    count = len(joint)
    size = labels.member.sum(axis=0)
    present = size > 0
    member, size = labels.member[:, present], size[present]
    # One batched product: sums over j of each kernel row, in total and within each class.
    columns = np.concatenate([np.ones((count, 1)), member], axis=1)
    sums = kernels @ (joint[:, :, None] * columns[None, :, :])  # (i, unit, 1 + classes)
    total = -np.log(sums[:, :, 0] / count).mean(axis=0)
    with np.errstate(divide="ignore"):
        within = np.log(sums[:, :, 1:] / size)
    within = np.where(member[:, None, :] > 0, within, 0.0)
    answer: NDArray[np.float64] = labels.components * total + within.sum(axis=(0, 2)) / count
    return answer


def information(units: NDArray[np.float64], labels: Labels, variance: float) -> NDArray[np.float64]:
    """I(unit; Y) in nats of every single unit; ``units`` is ``(n, units)``."""
    ones = np.ones((len(units), len(units)))
    return _information(_kernels(units, variance), ones, labels)


def greedy_irrelevant(
    units: NDArray[np.float64], labels: Labels, variance: float, threshold: float
) -> NDArray[np.bool_]:
    """Units that together stay below ``threshold`` nats about the labels (PAM's Regroup, per layer and task).

    Grown one by one, always by the unit with the least joint information (ties: the first); the unit that would
    exceed the threshold is not taken. Returns a mask ``(units,)``.
    """
    kernels = _kernels(units, variance)
    joint = np.ones((len(units), len(units)))
    left = np.arange(units.shape[1])
    taken = np.zeros(units.shape[1], dtype=bool)
    while len(left):
        joint_information = _information(kernels, joint, labels)
        best = int(joint_information.argmin())
        if joint_information[best] > threshold:
            break
        taken[left[best]] = True
        joint = joint * kernels[:, best, :]
        kernels = np.delete(kernels, best, axis=1)
        left = np.delete(left, best)
    return taken
