"""How much memory a process takes that opens and runs some networks: `python -m benchmarks.suites.peers.resident`.

Reads a JSON object from standard input: ``format``, ``parts`` (pairs of a folder and a task set), ``input`` (a .npy
file with one sample as a batch). Writes ``before``, ``after`` (resident memory before opening and after three
inferences) and ``peak`` in KiB.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

from benchmarks.suites.peers.formats import exporter_of

RUNS = 3


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _runtime(format: str) -> None:
    """Import the runtime, which is no part of what a network takes."""
    if format == "onnx":
        import onnxruntime  # noqa: F401
    elif format == "tflite":
        from pamc_exporters.tflite.schema import interpreter

        interpreter()
    else:
        from executorch.runtime import Runtime

        Runtime.get()


def main() -> None:
    """Measure."""
    asked = json.load(sys.stdin)
    x = np.load(asked["input"], allow_pickle=False)
    # First: it says how the runtime is to start.
    exporter = exporter_of(asked["format"])
    _runtime(asked["format"])
    before = _kib("VmRSS")
    sessions = [exporter.open(Path(folder), task_set, 1) for folder, task_set in asked["parts"]]
    for _ in range(RUNS):
        for session in sessions:
            session.run(x)
    json.dump({"before": before, "after": _kib("VmRSS"), "peak": _kib("VmHWM")}, sys.stdout)


if __name__ == "__main__":
    main()
