"""Merging: assigns owners and initial weights. One method per file, registered by name."""

from pamc.merge import concat, pam, separate
from pamc.merge.registry import METHODS, Calibration, Method

__all__ = ["METHODS", "Calibration", "Method", "concat", "pam", "separate"]
