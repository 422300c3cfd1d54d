"""The runners as commands: the C program, and the Python file with both runtimes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pamc_devices.base import Result
from pamc_devices.messages import Message, read_lines
from pamc_devices.runner import PYTHON_RUNNER

__all__ = ["FORMATS", "RUNNERS", "Runner", "make_runner"]

RUNNERS = ("c", "python", "litert")
FORMATS = {"c": "onnx", "python": "onnx", "litert": "tflite"}


@dataclass(frozen=True)
class Runner:
    """``command`` with ``options`` of its own that follow the command's name; ``format`` is what it runs."""

    command: tuple[str, ...]
    options: tuple[str, ...]
    format: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def argv(self, name: str, *arguments: str | Path) -> list[str]:
        return [*self.command, name, *map(str, arguments), *self.options]

    def start(self, name: str, *arguments: str | Path, **options: object) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment}
        wanted = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(self.argv(name, *arguments), env=environment, **wanted)  # type: ignore[call-overload, no-any-return]

    def run(self, name: str, *arguments: str | Path) -> Result:
        with self.start(name, *arguments) as process:
            out, err = process.communicate(timeout=120)
        return Result(process.returncode, out, err)

    def lines(self, name: str, *arguments: str | Path) -> tuple[Message, ...]:
        """What it says, read as strictly as a device's answer is."""
        return read_lines(self.run(name, *arguments))


def make_runner(kind: str, builds: Mapping[str, Path], library: Path, **environment: str) -> Runner:
    if kind == "c":
        return Runner((str(builds["linux-x86_64"]),), ("--ort", str(library)), "onnx", environment)
    runtime = "litert" if kind == "litert" else "onnxruntime"
    # -I: nothing but the standard library and installed packages may be imported.
    command = (sys.executable, "-I", str(PYTHON_RUNNER))
    return Runner(command, ("--runtime", runtime), FORMATS[kind], environment)
