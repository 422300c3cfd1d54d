"""Redundancy: how far a network is from the condition under which pruning is optimal for every task set."""

from pamc.redundancy.analysis import SAMPLES, analyse
from pamc.redundancy.findings import REDUNDANCY, Redundancy, from_json, read_redundancy, to_json
from pamc.redundancy.table import redundancy_view

__all__ = [
    "REDUNDANCY",
    "SAMPLES",
    "Redundancy",
    "analyse",
    "from_json",
    "read_redundancy",
    "redundancy_view",
    "to_json",
]
