"""ONNX: one small graph per task set over one file of weights that they share."""

import os

from pamc_exporters.onnx.exporter import OnnxExporter

__all__ = ["OnnxExporter", "exporter"]

# ONNX Runtime reads it when it is first imported, which the modules of this package do inside their functions; else it
# would keep a data base of what runs in the user's cache folder. Processes that they start inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

exporter = OnnxExporter()
