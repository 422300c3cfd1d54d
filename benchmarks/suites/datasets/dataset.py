"""Images with the labels of several tasks, in three disjoint parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.suites.datasets.files import DataError, Files
from pamc.spec import Normalize
from pamc.train import Samples, Target

__all__ = ["Dataset", "Labels", "Measure", "Sizes", "bins", "chosen", "parts"]

Images = NDArray[np.uint8]
Labels = dict[str, NDArray[np.int64]]
Measure = Callable[[Images], NDArray[np.floating]]
"""``images (n, ...) -> one real number per image (n,)``."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of images. Training and validation images come from the data set's training file."""

    train: int
    validation: int
    test: int

    def __post_init__(self) -> None:
        if min(self.train, self.validation, self.test) < 1:
            raise ValueError("every part needs at least one image")


@dataclass(frozen=True)
class Dataset:
    """``x`` of every part is uint8 ``(n, channels, height, width)``; ``normalize`` applies to x / 255.

    ``classes`` gives the outputs of each task. Labels are class numbers ``(n,)``, or 0/1 ``(n, classes)`` where
    ``loss`` is ``binary``.
    """

    name: str
    train: Samples
    validation: Samples
    test: Samples
    classes: Mapping[str, int]
    normalize: Normalize
    loss: str = "cross_entropy"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in task order."""
        return tuple(self.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train.x.shape[1:]

    @property
    def targets(self) -> tuple[Target, ...]:
        """What each task is trained for and measured by: accuracy in percent."""
        return tuple(Target(task, "accuracy", self.loss) for task in self.tasks)


def bins(values: NDArray[np.floating], reference: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Bin numbers ``(n,)`` of real values; the ``count`` bins hold equally many of the reference values."""
    cuts = np.quantile(reference, np.arange(1, count) / count)
    return np.asarray(np.digitize(values, cuts), np.int64)


def chosen(files: Files, sizes: Sizes, seed: int) -> tuple[tuple[Images, NDArray[np.int64]], ...]:
    """Random images and classes for training, validation and test; the first two are disjoint parts of one file."""
    available, wanted = len(files.train_x), sizes.train + sizes.validation
    if wanted > available or sizes.test > len(files.test_x):
        raise DataError(
            f"{files.name} has {available} training and {len(files.test_x)} test images, "
            f"{wanted} and {sizes.test} are asked for"
        )
    random = np.random.default_rng(seed)
    order = random.permutation(available)[:wanted]
    test = random.permutation(len(files.test_x))[: sizes.test]
    return tuple(
        (x[index], y[index].astype(np.int64))
        for x, y, index in (
            (files.train_x, files.train_y, order[: sizes.train]),
            (files.train_x, files.train_y, order[sizes.train :]),
            (files.test_x, files.test_y, test),
        )
    )


def parts(
    files: Files,
    sizes: Sizes,
    seed: int,
    derived: Mapping[str, NDArray[np.int64]],
    measured: Mapping[str, Measure],
    normalize: Normalize,
) -> Dataset:
    """A data set whose tasks are functions of the class (tables by class number) and terciles of pixel measures.

    The terciles are those of the training part alone.
    """
    drawn = chosen(files, sizes, seed)
    references = {task: measure(drawn[0][0]) for task, measure in measured.items()}

    def samples(x: Images, y: NDArray[np.int64]) -> Samples:
        labels: Labels = {task: table[y] for task, table in derived.items()}
        labels |= {task: bins(measure(x), references[task], 3) for task, measure in measured.items()}
        return Samples(np.ascontiguousarray(x), labels)

    classes = {task: int(table.max()) + 1 for task, table in derived.items()} | dict.fromkeys(measured, 3)
    train, validation, test = (samples(*pair) for pair in drawn)
    return Dataset(files.name, train, validation, test, classes, normalize)
