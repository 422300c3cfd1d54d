"""Merging: assigns owners and initial weights. One method per file in `methods`, registered by name."""

from pamc.merge.registry import METHODS, Calibration, Method
from pamc.registry import import_methods

__all__ = ["METHODS", "Calibration", "Method"]

import_methods("merge")
