"""Real images with several labels each, from packages that ordinary package managers download."""

from benchmarks.suites.datasets.composing import composites
from benchmarks.suites.datasets.dataset import Dataset, Sizes
from benchmarks.suites.datasets.files import DataError
from benchmarks.suites.datasets.images import cifar10mt, digits, fashion4, mnist5

__all__ = ["DataError", "Dataset", "Sizes", "cifar10mt", "composites", "digits", "fashion4", "mnist5"]
