"""Where a suite writes its results, and the command that it tells with them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

__all__ = ["OUT", "out_option", "results_file", "spelled"]

OUT = Path("docs/benchmarks")
SMOKE_OUT = Path("build/benchmarks")

out_option = click.option(
    "--out", type=click.Path(path_type=Path), help=f"Folder of the results. Default: {OUT}; of smoke: {SMOKE_OUT}."
)
"""The option of every suite that has scales."""


def results_file(name: str, scale: str, out: Path | None) -> Path:
    """The JSON file of the results ``name``, in ``out`` or else in the folder for the scale, which is made."""
    folder = out or (SMOKE_OUT if scale == "smoke" else OUT)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.json"


def spelled(suite: str) -> str:
    """The command line of this process, for ``python benchmarks/suites/SUITE``."""
    return shlex.join(["python", f"benchmarks/suites/{suite}", *sys.argv[1:]])
