"""From a multitask network and a target to one plan per task set."""

from pamc.lower.calibration import calibrate, numerics_of
from pamc.lower.describe import describe
from pamc.lower.numerics import FLOAT32, Numerics
from pamc.lower.plan import Plan, bare_plan, lower
from pamc.lower.target import Target, load_target, target_names

__all__ = [
    "FLOAT32",
    "Numerics",
    "Plan",
    "Target",
    "bare_plan",
    "calibrate",
    "describe",
    "load_target",
    "lower",
    "numerics_of",
    "target_names",
]
