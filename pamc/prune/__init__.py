"""Pruning: removes units and releases owners. One pruner per file, registered by name."""

from pamc.prune import none, share, taylor
from pamc.prune.registry import METHODS, Budget, Checkpoints, Method, NoCheckpoints, Pruning, Settings

__all__ = [
    "METHODS",
    "Budget",
    "Checkpoints",
    "Method",
    "NoCheckpoints",
    "Pruning",
    "Settings",
    "none",
    "share",
    "taylor",
]
