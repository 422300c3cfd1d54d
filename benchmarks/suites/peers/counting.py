"""Exact A64 instruction counts of the ONNX files of a row, on the emulated boards of `pamc bench --counts`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.suites.peers.formats import exporter_of
from benchmarks.suites.peers.programs import Written
from pamc.bundle.digest import digest
from pamc.graph.ops import Shape
from pamc_devices.boardfiles import BOARDS
from pamc_devices.counting import workplace
from pamc_devices.runner import bare_manifest, find_runner

__all__ = ["BOARDS", "FORMAT", "counted", "runner_key"]

FORMAT = "onnx"
"""The runner in C, which is what is counted, opens ONNX files."""


def runner_key() -> str:
    """The same for the same runner. Raises DeviceErrors with the cure where it cannot be compiled."""
    return digest(find_runner("aarch64", "glibc"))


def counted(written: Written, board: str, shape: Shape) -> dict[str, Any]:
    """Instructions of one inference on ``board``, by task set; of files run one after another, their sum.

    ``shape`` is that of one uint8 image. Raises DeviceErrors with the cure where QEMU or something else that it needs
    is missing.
    """
    parts = dict.fromkeys(part for program in written.programs.values() for part in program.parts)
    known = {part: _counted(written.format, *part, board, shape) for part in parts}
    sets = {name: sum(known[part] for part in program.parts) for name, program in written.programs.items()}
    return {"instructions": sets}


def _counted(format: str, place: Path, task_set: str, board: str, shape: Shape) -> int:
    exporter = exporter_of(format)
    files = [f"{format}/{name}" for name in exporter.files(task_set) if (place / name).exists()]
    outputs = exporter.open(place, task_set).run(np.zeros((1, *shape), np.uint8))
    manifest = bare_manifest(shape, "uint8", {task: output.shape[1:] for task, output in outputs.items()}, files)
    with TemporaryDirectory(prefix="pamc-peers-") as folder:
        bundle = Path(folder)
        (bundle / "manifest.json").write_text(manifest)
        (bundle / format).symlink_to(place)
        with workplace(board, bundle, ["manifest.json", *files]) as station:
            return sum(station.count(task_set).classes.values())
