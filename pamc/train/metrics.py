"""What a task is trained for and measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Target", "decided", "drop", "score", "task_loss"]

TEMPERATURE = 2.0
LEAST = 1e-30
"""The least probability of a class, and LEAST_SURE how far one of two stays from 0 and 1: float32 has a logarithm of
them, and of 1 less the second."""
LEAST_SURE = 1e-7


@dataclass(frozen=True, slots=True)
class Target:
    """A task's metric (``accuracy`` in percent, ``mae``, ``mse``) and loss (``cross_entropy``, ``binary``, ``mse``).

    With ``probabilities`` the outputs are those of a softmax or of sigmoids, otherwise they are logits.
    """

    task: str
    metric: str
    loss: str
    probabilities: bool = False


def decided(target: Target, outputs: NDArray[np.floating]) -> NDArray[np.generic]:
    """What raw outputs ``(n, ...)`` say: class numbers ``(n,)``, which of several things hold, or the numbers."""
    if target.loss == "binary":
        return outputs > (0.5 if target.probabilities else 0.0)
    return outputs.argmax(axis=1) if target.loss == "cross_entropy" else outputs


def score(target: Target, outputs: NDArray[np.floating], truth: NDArray[np.generic]) -> float:
    """The metric of raw outputs ``(n, ...)`` against labels ``(n,)`` or ``(n, k)``.

    Labels of several binary targets may be 0/1 or -1/+1; accuracy is then the mean over all of them.
    """
    if target.metric == "accuracy":
        known = truth.astype(np.float64) > 0 if target.loss == "binary" else truth
        return 100.0 * float(np.mean(decided(target, outputs) == known))
    error = outputs.reshape(len(outputs), -1) - truth.reshape(len(truth), -1).astype(np.float64)
    return float(np.mean(np.abs(error)) if target.metric == "mae" else np.mean(np.square(error)))


def drop(target: Target, before: float, after: float) -> float:
    """How much worse ``after`` is than ``before``: points of accuracy, or units of the error metric."""
    return before - after if target.metric == "accuracy" else after - before


def _logits(target: Target, output: Tensor) -> Tensor:
    """Raw outputs as logits: a loss that takes a softmax of a softmax again hardly tells networks apart."""
    if not target.probabilities:
        return output
    return torch.logit(output, LEAST_SURE) if target.loss == "binary" else output.clamp_min(LEAST).log()


def _label_loss(target: Target, output: Tensor, label: Tensor) -> Tensor:
    if target.loss == "cross_entropy":
        return F.cross_entropy(output, label.long())
    if target.loss == "binary":
        return F.binary_cross_entropy_with_logits(output, (label > 0).to(output.dtype).reshape(output.shape))
    return F.mse_loss(output, label.to(output.dtype).reshape(output.shape))


def _teacher_loss(target: Target, output: Tensor, teacher: Tensor) -> Tensor:
    """Distillation (Hinton et al. 2015, eq. 4): T^2 KL(teacher || student) at temperature T."""
    teacher = _logits(target, teacher.to(output.dtype))
    if target.loss == "cross_entropy":
        soft = F.log_softmax(teacher / TEMPERATURE, dim=1)
        ours = F.log_softmax(output / TEMPERATURE, dim=1)
        return F.kl_div(ours, soft, reduction="batchmean", log_target=True) * TEMPERATURE**2
    if target.loss == "binary":
        return F.binary_cross_entropy_with_logits(output, torch.sigmoid(teacher))
    return F.mse_loss(output, teacher)


def task_loss(target: Target, output: Tensor, label: Tensor | None, teacher: Tensor | None, distill: float) -> Tensor:
    """``(1 - distill) * loss on labels + distill * distillation``; whichever is missing gives way to the other."""
    output = _logits(target, output)
    if label is None and teacher is None:
        raise ValueError(f"task {target.task} has neither labels nor a teacher")
    if teacher is None or (label is not None and distill == 0.0):
        assert label is not None
        return _label_loss(target, output, label)
    if label is None:
        return _teacher_loss(target, output, teacher)
    return (1.0 - distill) * _label_loss(target, output, label) + distill * _teacher_loss(target, output, teacher)
