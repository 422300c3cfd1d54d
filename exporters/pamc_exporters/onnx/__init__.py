"""ONNX: one small graph per task set over one file of weights that they share."""

from pamc_exporters.onnx.exporter import OnnxExporter

__all__ = ["OnnxExporter", "exporter"]

exporter = OnnxExporter()
