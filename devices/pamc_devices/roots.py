"""The userland that arm64 programs find under emulation: unpacked Debian packages, Python's wheels, a board's files.

Made at the first use, in pamc's cache, by whoever asks; no privilege is needed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pamc_devices.boardfiles import Board, write_board_files
from pamc_devices.debian import SUITE, Apt, debian_archive
from pamc_devices.folders import content_key, made_once
from pamc_devices.states import MissingRuntimeError
from pamc_devices.wheels import ARM64_WHEELS, PYTHON, Wheel, unpack_wheels

__all__ = ["ARM64", "SHIMS", "Root", "board_root", "make_root", "qemu_program"]

SHIMS = "shims"
"""Folder of a board's root with one host script for every program of it; see :func:`board_root`."""
_SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
_SHOWN = ("bin", "etc", "lib", "sbin", "usr")
_RECIPE = 1


@dataclass(frozen=True, slots=True)
class Root:
    """A root by what is unpacked in it. ``architecture`` is Debian's name."""

    name: str
    architecture: str
    packages: tuple[str, ...]
    wheels: tuple[Wheel, ...] = ()


_BASE = (
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "gzip",
    "libc-bin",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "mawk",
    "procps",
    "python3",
    "sed",
    "tar",
    "util-linux",
)
ARM64 = Root("arm64", "arm64", _BASE, ARM64_WHEELS)
"""What a 64-bit Raspberry Pi OS has in the way of commands, and both runtimes for Python."""


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def qemu_program(architecture: str, *, plugins: bool = False) -> str:
    """Path of QEMU's user-mode program for ``architecture`` (QEMU's name); the dynamic one can load ``plugins``.

    Raises MissingRuntimeError.
    """
    names = [f"qemu-{architecture}"] if plugins else [f"qemu-{architecture}-static", f"qemu-{architecture}"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        package = "qemu-user" if plugins else "qemu-user-static"
        raise MissingRuntimeError(
            f"{names[0]} is not on this machine, so no {architecture} program can be run here",
            cure=f"sudo apt-get install {package}",
        )
    return found


def make_root(root: Root, say: Callable[[str], None] = _progress) -> Path:
    """The folder that holds ``root``; takes seconds and a network the first time. It is shared: never write to it.

    Raises a DeviceError when the packages cannot be had.
    """

    def fill(folder: Path) -> None:
        say(f"unpacking Debian {SUITE} {root.architecture} ({root.name}) from {debian_archive()}: once, some seconds")
        apt = Apt(folder, root.architecture)
        apt.update()
        tree = folder / "root"
        apt.unpack(root.packages, tree)
        shutil.rmtree(folder / "apt")
        _finish(tree)
        if root.wheels:
            say(f"unpacking {', '.join(f'{wheel.name} {wheel.version}' for wheel in root.wheels)}")
            unpack_wheels(root.wheels, tree / _SITE)

    return made_once("roots", root.name, content_key(_RECIPE, SUITE, asdict(root)), fill) / "root"


def _finish(tree: Path) -> None:
    """What maintainer scripts would have made and programs expect."""
    for link, target in (("awk", "mawk"), ("sh", "dash")):
        path = tree / "usr" / "bin" / link
        if not path.exists() and (path.parent / target).exists():
            path.unlink(missing_ok=True)
            path.symlink_to(target)
    for name in ("dev", "proc", "sys", "tmp"):
        (tree / name).mkdir(exist_ok=True)
    for name in ("ld.so.cache", "ld.so.preload"):
        # An empty cache hides the host's, which lists libraries of the host's architecture.
        (tree / "etc" / name).touch()


def board_root(name: str, board: Board, say: Callable[[str], None] = _progress) -> Path:
    """The folder for ``qemu -L`` that shows ``board``: links to the folders of :data:`ARM64`, its own /proc and /sys.

    QEMU opens files of the root in place of the host's but does not start programs from it: the kernel would find the
    host's. The folder :data:`SHIMS`, as PATH, has scripts that start the root's programs under QEMU. They read the
    variables PAMC_QEMU and QEMU_LD_PREFIX.
    """
    base = make_root(ARM64, say)

    def fill(folder: Path) -> None:
        tree = folder / "root"
        tree.mkdir()
        write_board_files(board, tree)
        for shown in _SHOWN:
            (tree / shown).symlink_to(base / shown)
        shims = folder / SHIMS
        shims.mkdir()
        shim = folder / "shim"
        shim.write_text('#!/bin/sh\nexec "$PAMC_QEMU" -0 "${0##*/}" "$QEMU_LD_PREFIX/usr/bin/${0##*/}" "$@"\n')
        shim.chmod(0o755)
        for program in sorted((base / "usr" / "bin").iterdir()):
            (shims / program.name).symlink_to("../shim")

    key = content_key(_RECIPE, asdict(board), str(base))
    return made_once("roots", name, key, fill) / "root"
