"""How long the search for the smallest network may take: three sets of defaults for the options of pruners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pamc.prune.registry import METHODS
from pamc.spec import Effort

__all__ = ["search_options"]

_DEFAULTS: Mapping[Effort, Mapping[str, object]] = {
    "quick": {
        "step": 0.25,
        "recover": 30,
        "epochs": 4.0,
        "halvings": 0,
        "detours": 0,
        "attempts": 1,
        "restarts": 1,
        "share_step": 0.12,
        "share_recover": 100,
        "trials": 1,
        "race": False,
    },
    "normal": {},
    "thorough": {
        "step": 0.08,
        "recover": 120,
        "epochs": 16.0,
        "halvings": 2,
        "detours": 3,
        "attempts": 4,
        "restarts": 4,
        "share_step": 0.04,
        "share_recover": 600,
        "trials": 8,
    },
}


def search_options(method: str, effort: Effort, given: Mapping[str, object]) -> Any:
    """The options of pruner ``method``: those ``given``, else those of the ``effort``, else the pruner's own.

    Raises ConfigError for an unknown pruner and for options that it does not take.
    """
    known = {item.name for item in fields(METHODS.get(method).options)}
    chosen = {name: value for name, value in _DEFAULTS[effort].items() if name in known}
    return METHODS.parse_options(method, {**chosen, **given})
