"""The formats that are measured, and the runtimes that open them."""

from __future__ import annotations

from importlib.util import find_spec

from pamc.export import Exporter, find_exporter
from pamc.lower.target import RUNTIMES

__all__ = ["FORMATS", "PACKAGES", "exporter_of", "installed", "runtime_of"]

PACKAGES = {"onnx": "onnxruntime", "tflite": "ai-edge-litert", "executorch": "executorch"}
"""The package of each format's runtime."""

FORMATS = tuple(PACKAGES)


def installed(format: str) -> bool:
    """Whether the runtime of a format is there."""
    return find_spec(PACKAGES[format].replace("-", "_")) is not None


def exporter_of(format: str) -> Exporter:
    """What writes and opens a format."""
    if format == "executorch":
        from benchmarks.suites.peers.to_executorch import EXPORTER

        return EXPORTER
    return find_exporter(format)


def runtime_of(format: str) -> str:
    """The runtime that opens a format."""
    return RUNTIMES.get(format, format)
