"""What a user may ask of the ONNX exporter."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OnnxOptions"]


@dataclass(frozen=True)
class OnnxOptions:
    """``single`` adds model.onnx, one file for all task sets; ``simplify`` runs onnx-simplifier over the networks;

    ``ort`` adds each network in ONNX Runtime's own format.
    """

    single: bool = False
    simplify: bool = False
    ort: bool = False
