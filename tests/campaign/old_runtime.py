"""tflite-runtime 2.14, which needs an older NumPy: in a virtual environment of its own, driven through a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

__all__ = ["OldRuntime", "old_runtime"]

REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy==1.26.4")
SCRIPT = Path(__file__).with_name("interpreter.py")


def _environment() -> Path:
    """The Python of the virtual environment, which is made when it is not there."""
    folder = user_cache_path("pamc") / "tests" / "tflite-runtime-2.14.0"
    python, complete = folder / "bin" / "python", folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *REQUIREMENTS], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            complete.touch()
    return python


class OldRuntime:
    """One process that runs signatures of .tflite files."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pamc-campaign-")
        self._process = subprocess.Popen(
            [str(_environment()), "-u", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, model: Path, signature: str, x: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name, one sample after another. RuntimeError with the interpreter's words when it fails."""
        assert self._process.stdin is not None and self._process.stdout is not None
        folder = Path(self._folder.name)
        np.save(folder / "x.npy", x)
        asked = {"model": model, "signature": signature, "input": folder / "x.npy", "output": folder / "y.npz"}
        self._process.stdin.write(json.dumps({key: str(value) for key, value in asked.items()}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(answer or f"the interpreter died with {self._process.wait()}")
        with np.load(folder / "y.npz") as found:
            return dict(found)


@cache
def old_runtime() -> OldRuntime:
    """The one of this process."""
    return OldRuntime()
