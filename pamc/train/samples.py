"""Data in memory: inputs, labels per task, and what the original networks answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Samples", "batches"]


@dataclass(frozen=True)
class Samples:
    """``x`` is ``(n, *input shape)``, float32 or uint8; ``labels`` and ``teacher`` hold ``(n, ...)`` arrays by task.

    A task without labels learns from its teacher alone. ``teacher`` holds the original network's raw outputs.
    """

    x: NDArray[np.generic]
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    teacher: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Batch:
    """One mini-batch on the training device."""

    x: Tensor
    labels: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]


def batches(samples: Samples, size: int, seed: int, device: torch.device) -> Iterator[Batch]:
    """An endless stream of mini-batches, reshuffled every epoch by ``seed``; a last partial batch is skipped."""
    held = (
        torch.as_tensor(samples.x),
        {task: torch.as_tensor(array) for task, array in samples.labels.items()},
        {task: torch.as_tensor(array) for task, array in samples.teacher.items()},
    )
    x, labels, teacher = held
    generator = torch.Generator().manual_seed(seed)
    size = min(size, len(samples))
    while True:
        order = torch.randperm(len(samples), generator=generator)
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            yield Batch(
                x[index].to(device),
                {task: tensor[index].to(device) for task, tensor in labels.items()},
                {task: tensor[index].to(device) for task, tensor in teacher.items()},
            )
