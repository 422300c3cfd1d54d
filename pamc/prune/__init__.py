"""Pruning: removes units and releases owners. One pruner per file in `methods`, registered by name."""

from pamc.prune.registry import METHODS, Alone, Budget, Checkpoints, Method, NoCheckpoints, Pruning, Settings
from pamc.registry import import_methods

__all__ = ["METHODS", "Alone", "Budget", "Checkpoints", "Method", "NoCheckpoints", "Pruning", "Settings"]

import_methods("prune")
