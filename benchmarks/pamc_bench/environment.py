"""One line about the machine and the software that a measurement ran on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["cpu_name", "describe_machine", "load_average"]

CPUINFO = "proc/cpuinfo"
BOARD = "proc/device-tree/model"
GOVERNORS = "sys/devices/system/cpu"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().rstrip("\0")
    except OSError:
        return ""


def cpu_name(root: Path = Path("/")) -> str:
    """The board, or the model of the CPU."""
    # ARM kernels name the board, x86 kernels the CPU.
    if board := _read(root / BOARD):
        return board
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", _read(root / CPUINFO), re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.processor() or "unknown CPU"


def _governor(root: Path) -> str:
    files = (root / GOVERNORS).glob("cpu[0-9]*/cpufreq/scaling_governor")
    return "/".join(sorted({text for text in map(_read, files) if text})) or "not readable"


def _cores() -> str:
    present = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    text = f"{present} core{'s' if present != 1 else ''}"
    return text if usable == present else f"{usable} of {text}"


def load_average() -> float | None:
    """The load of the last minute, where the system tells it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def describe_machine(
    packages: Sequence[str] = ("onnxruntime",), *, load: float | None = None, root: Path = Path("/")
) -> str:
    """CPU, cores, frequency governor, ``load``, system, and versions of Python and ``packages``."""
    parts = [cpu_name(root), _cores(), f"governor {_governor(root)}"]
    if load is not None:
        parts.append(f"load {load:.2f} before")
    parts += [f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}"]
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} not installed")
    return ", ".join(parts)
