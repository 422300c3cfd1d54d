"""The PAM paper's first data set: four garments of Fashion-MNIST in a row, and which classes are among them.

The paper's published code gives the size (124x496), the normalisation (value / 255 - 0.7188) and the two tasks: the
presence of classes 0-4 and 5-9. That the garments are inverted and scaled to 124x124 follows from these figures: the
mean of the inverted images is 0.714. How the garments were drawn is not known: here uniformly, with repetition.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmarks.suites.datasets import files
from benchmarks.suites.datasets.dataset import Dataset, Labels, Sizes, chosen
from benchmarks.suites.datasets.files import Files
from pamc.spec import Normalize
from pamc.train import Samples

__all__ = ["composed", "composites", "drawn_garments"]

GARMENTS = 4
QUARTER_SIDE, FULL_SIDE = 31, 124
NORMALIZE = Normalize((0.7188,), (1.0,))
TASKS = {"A": range(5), "B": range(5, 10)}
VALIDATION_SHARE = 1 / 6  # of the garments for training
CHUNK = 1024


def composites(sizes: Sizes, seed: int, side: int = QUARTER_SIDE) -> Dataset:
    """Composites ``(1, side, 4 side)``: tasks A and B with five binary labels each, 1 where the class is present.

    No garment is in two of the parts. ``side`` is 124 at the paper's size.
    """
    return composed(files.fashion_mnist(), sizes, seed, side)


def composed(garments: Files, sizes: Sizes, seed: int, side: int) -> Dataset:
    """Composites of the given garments."""
    available = len(garments.train_x)
    held = round(VALIDATION_SHARE * available)
    pools = chosen(garments, Sizes(available - held, held, len(garments.test_x)), seed)
    counts = (sizes.train, sizes.validation, sizes.test)
    train, validation, test = (
        _part(images[:, 0], classes, drawn_garments(len(images), count, seed, number), side)
        for number, ((images, classes), count) in enumerate(zip(pools, counts, strict=True))
    )
    outputs = {task: len(present) for task, present in TASKS.items()}
    return Dataset("fashion composites", train, validation, test, outputs, NORMALIZE, "binary")


def drawn_garments(pool: int, count: int, seed: int, part: int) -> NDArray[np.int64]:
    """Indices ``(count, 4)`` into the pool of a part."""
    return np.random.default_rng([seed, part]).integers(0, pool, (count, GARMENTS))


def _part(images: NDArray[np.uint8], classes: NDArray[np.int64], garments: NDArray[np.int64], side: int) -> Samples:
    x = np.empty((len(garments), 1, side, GARMENTS * side), np.uint8)
    for start in range(0, len(garments), CHUNK):
        few = garments[start : start + CHUNK]
        scaled = _scaled(255 - images[few.ravel()], side).reshape(len(few), GARMENTS, side, side)
        x[start : start + CHUNK, 0] = scaled.transpose(0, 2, 1, 3).reshape(len(few), side, GARMENTS * side)
    present = (classes[garments][:, :, None] == np.arange(10)).any(axis=1).astype(np.int64)
    labels: Labels = {task: present[:, list(of)] for task, of in TASKS.items()}
    return Samples(x, labels)


def _scaled(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    floats = torch.from_numpy(images)[:, None].float()
    scaled = F.interpolate(floats, (side, side), mode="bilinear", align_corners=False)
    return np.asarray(scaled[:, 0].round().to(torch.uint8).numpy())
