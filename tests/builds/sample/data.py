"""Handwritten digits that scikit-learn carries: which digit, whether odd, whether 5 or more, how much ink."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

Array = NDArray[Any]
Data = tuple[Array, dict[str, Array]]
TRAINING, VALIDATION = slice(0, 1000), slice(1000, 1300)
HELD_OUT = slice(1300, None)


def part(which: slice) -> Data:
    images, digits = load_digits(return_X_y=True)
    x = (images[which].reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    digit = digits[which].astype(np.int64)
    ink = x.mean(axis=(1, 2, 3))[:, None]
    return x, {"digit": digit, "parity": digit % 2, "big": (digit >= 5).astype(np.int64), "ink": ink}


def choose(which: slice, *tasks: str) -> Data:
    x, labels = part(which)
    return x, {task: labels[task] for task in tasks}


def train() -> Data:
    return choose(TRAINING, "digit", "parity", "big")


def evaluate() -> Data:
    return choose(HELD_OUT, "digit", "parity", "big")


def train_without_big() -> Data:
    return choose(TRAINING, "digit", "parity")


def evaluate_without_big() -> Data:
    return choose(HELD_OUT, "digit", "parity")


def validation_without_big() -> Data:
    return choose(VALIDATION, "digit", "parity")


def train_ink() -> Data:
    return choose(TRAINING, "digit", "ink")


def evaluate_ink() -> Data:
    return choose(HELD_OUT, "digit", "ink")


class Digits(Dataset[tuple[Array, dict[str, int]]]):
    """The same data one by one, as many users hold theirs."""

    def __init__(self, which: slice) -> None:
        self.x, self.labels = part(which)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Array, dict[str, int]]:
        return self.x[index], {task: int(self.labels[task][index]) for task in ("digit", "parity", "big")}


def train_dataset() -> Digits:
    return Digits(TRAINING)


def evaluate_dataset() -> Digits:
    return Digits(HELD_OUT)
