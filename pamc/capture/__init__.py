"""From PyTorch modules to one multitask graph: load weights, capture each network, align them."""

from pamc.capture.align import AlignReport, align, align_report
from pamc.capture.check import CheckReport, check_networks
from pamc.capture.exporting import capture
from pamc.capture.translation import Normalization
from pamc.capture.weights import load_weights

__all__ = [
    "AlignReport",
    "CheckReport",
    "Normalization",
    "align",
    "align_report",
    "capture",
    "check_networks",
    "load_weights",
]
