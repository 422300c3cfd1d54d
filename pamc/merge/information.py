"""Mutual information between units and labels, by pairwise distances.

The entropy of samples with Gaussian noise is bounded by its pairwise-distance (KL) estimate (Kolchinsky & Tracey,
"Estimating Mixture Entropy with Pairwise Distances", Entropy 2017, section 4):

    H(x) = d/2 + d/2 ln(2 pi s2) - 1/N sum_i ln( 1/N sum_j exp(-|x_i - x_j|^2 / (2 s2)) )

and I(x; Y) = sum over the label components k of H(x) - sum_v p(Y_k = v) H(x | Y_k = v). The terms in d cancel. With
R_i the sum over all j, R_ik that over the samples of i's own class of component k, and N_ik their number,

    I(x; Y) = 1/N sum_i sum_k ln( (R_ik / R_i) / (N_ik / N) )
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Labels", "encode_labels", "information", "irrelevant"]

REAL_BINS = 4
# Shares of at least 1/1024 may be multiplied so often before a logarithm without underflow: fewer logarithms.
FACTORS = 64


@dataclass(frozen=True)
class Labels:
    """Label components as indicator columns: ``member[i, c]`` says that sample i is in class c of its component.

    Column c belongs to component ``c % components``.
    """

    member: NDArray[np.float64]
    components: int

    @property
    def entropy(self) -> float:
        """Sum over components of the empirical label entropy, in nats: the ceiling of the information."""
        share = self.member.mean(axis=0)
        share = share[share > 0]
        return float(-(share * np.log(share)).sum())

    @property
    def together(self) -> NDArray[np.float64]:
        """``(n, n, components)``: 1 where two samples are in the same class of a component."""
        classes = self.member.reshape(len(self.member), -1, self.components)
        table: NDArray[np.float64] = np.einsum("ick,jck->ijk", classes, classes)
        return table


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


def _kernels(units: NDArray[np.float64], variance: float) -> Tensor:
    """``(sample i, unit, sample j)``: exp(-(x_i - x_j)^2 / (2 s2)) of every single unit, in float64."""
    columns = torch.from_numpy(np.ascontiguousarray(units))
    gap = columns[:, :, None] - columns.T[None]
    return gap.square_().mul_(-1 / (2 * variance)).exp_()


@dataclass
class _Growth:
    """A set of units that grows, for one task: ``joint[i, j]`` is its kernel."""

    joint: Tensor
    together: Tensor
    baseline: float
    threshold: float
    taken: NDArray[np.bool_]

    @classmethod
    def empty(cls, labels: Labels, units: int, threshold: float) -> _Growth:
        together = torch.from_numpy(labels.together)
        count = len(together)
        baseline = float((together.sum(dim=1) / count).log().sum() / count)
        joint = torch.ones((count, count), dtype=torch.float64)
        return cls(joint, together, baseline, threshold, np.zeros(units, dtype=bool))

    @property
    def columns(self) -> Tensor:
        """``(i, j, 1 + components)``: the kernel, whole and within the class of i."""
        return torch.cat([self.joint[:, :, None], self.joint[:, :, None] * self.together], dim=2)

    def information(self, sums: Tensor) -> NDArray[np.float64]:
        """I(set + unit; Y) for every unit, from the sums over j ``(i, unit, 1 + components)``."""
        share = sums[:, :, 1:] / sums[:, :, :1]
        logs = [part.prod(dim=0).log_().sum(dim=1) for part in torch.split(share, FACTORS)]
        answer: NDArray[np.float64] = (torch.stack(logs).sum(dim=0) / len(sums) - self.baseline).numpy()
        return answer


def _informations(kernels: Tensor, sets: Sequence[_Growth]) -> list[NDArray[np.float64]]:
    """I(set + unit; Y) of every unit for each of the sets, by one batched product over all sets and units."""
    columns = [grown.columns for grown in sets]
    sums = torch.bmm(kernels, torch.cat(columns, dim=2))
    parts = torch.split(sums, [part.shape[2] for part in columns], dim=2)
    return [grown.information(part) for grown, part in zip(sets, parts, strict=True)]


def information(units: NDArray[np.float64], labels: Labels, variance: float) -> NDArray[np.float64]:
    """I(unit; Y) in nats of every single unit; ``units`` is ``(n, units)``."""
    (found,) = _informations(_kernels(units, variance), [_Growth.empty(labels, units.shape[1], 0.0)])
    return found


def irrelevant(
    units: NDArray[np.float64], labels: Sequence[Labels], variance: float, thresholds: Sequence[float]
) -> NDArray[np.bool_]:
    """Units that together stay below each task's threshold, in nats about its labels (PAM's Regroup of one layer).

    Each task's set is grown one by one, always by the unit with the least joint information (ties: the first); the
    unit that would exceed the threshold is not taken. Returns a mask ``(tasks, units)``. ``units`` is ``(n, units)``;
    the kernels take 8 n^2 units bytes, and a step one pass over them for all tasks.
    """
    # A constant unit changes no kernel. So it is below any threshold that the set is below, and changes nothing else.
    moving = np.flatnonzero((units != units[:1]).any(axis=0))
    answer = np.repeat(np.asarray(thresholds) >= 0, units.shape[1]).reshape(len(labels), -1)
    # The entropy of the labels bounds the information of any set, since shares of kernels are at most 1.
    bounded = np.array([0 <= limit < known.entropy for known, limit in zip(labels, thresholds, strict=True)])
    answer[np.ix_(bounded, moving)] = False
    kernels = _kernels(units[:, moving], variance)
    sets = [_Growth.empty(known, len(moving), limit) for known, limit in zip(labels, thresholds, strict=True)]
    growing = [grown for grown, limited in zip(sets, bounded, strict=True) if limited and len(moving)]
    while growing:
        left = []
        for grown, found in zip(growing, _informations(kernels, growing), strict=True):
            found[grown.taken] = np.inf
            best = int(found.argmin())
            if found[best] <= grown.threshold:
                grown.taken[best] = True
                grown.joint *= kernels[:, best, :]
                left.append(grown)
        growing = left
    for task in np.flatnonzero(bounded):
        answer[task, moving] = sets[task].taken
    return answer
