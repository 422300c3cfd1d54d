"""TFLite: one file with a subgraph and signature per task set, over weights that they share."""

from pamc_exporters.tflite.exporter import TfliteExporter, slice_model

__all__ = ["TfliteExporter", "exporter", "slice_model"]

exporter = TfliteExporter()
