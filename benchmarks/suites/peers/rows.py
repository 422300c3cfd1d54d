"""The rows: by which way the tasks' networks come to the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["OURS", "Row", "rows"]

Source = Literal["originals", "torch-pruning", "cell"]
Packing = Literal["apart", "whole", "sets"]


@dataclass(frozen=True, slots=True)
class Row:
    """One way.

    Its networks are the ``originals``, these pruned by Torch-Pruning, or those of the row ``cell`` of the paper's
    suites. ``apart`` is a file for each task, run one after another; ``whole`` one file that computes all tasks
    whatever is asked for; ``sets`` a file for each task set over shared weights, as pamc writes them.
    """

    name: str
    label: str
    about: str
    source: Source
    packing: Packing
    cell: str | None = None


OURS = "ours"

_LIST = (
    Row("separate", "separate", "the networks as they came, one after another", "originals", "apart"),
    Row("all-outputs", "one graph", "the same in one graph, which runs whole whatever is asked", "originals", "whole"),
    Row(
        "torch-pruning",
        "Torch-Pruning",
        "every network pruned by itself by Torch-Pruning, one after another",
        "torch-pruning",
        "apart",
    ),
    Row("alone", "pamc, alone", "every network pruned by itself by pamc, one after another", "cell", "apart", "b1"),
    Row(
        "hard",
        "hard sharing",
        "one trunk of PAM's cost and a head for each task, trained anew; a task set runs the trunk and its heads",
        "cell",
        "sets",
        "hard",
    ),
    Row(
        "mtz",
        "MTZ",
        "zipped by MTZ into one trunk, then pruned; a task set runs the trunk and its heads",
        "cell",
        "sets",
        "b2-mtz",
    ),
    Row("pam", "PAM", "merged by PAM from the middle on, then pruned", "cell", "sets", "pam"),
    Row("pam-all", "PAM, every layer", "merged by PAM in every layer, then pruned", "cell", "sets", "pam-all"),
)


def rows(ours: str) -> Mapping[str, Row]:
    """All rows by name, in the order of the tables; the last is pamc's, from the row ``ours`` of the paper's suites."""
    last = Row(OURS, f"pamc, {ours}", f"pamc's own method, `{ours}`", "cell", "sets", ours)
    return {row.name: row for row in (*_LIST, last)}
