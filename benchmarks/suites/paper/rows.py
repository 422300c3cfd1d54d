"""The rows of a suite: what is done to the single-task networks before, by or instead of merging and pruning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["PRUNERS", "REFERENCE", "ROWS", "Row"]

Kind = Literal["alone", "merge", "hard", "fresh"]


@dataclass(frozen=True, slots=True)
class Row:
    """One method.

    ``alone`` prunes every network by itself. ``merge`` merges by the method ``merge`` with ``options``, then prunes by
    ``prune`` or, where that is None, by the pruner of the table. ``hard`` trains one trunk with a head per task as
    costly as the row ``needs``; ``fresh`` trains the network of that row from new weights. ``pruners`` are the tables
    that the row appears in. ``version`` is raised when code of this row alone changes what comes out.
    """

    name: str
    label: str
    about: str
    kind: Kind = "merge"
    merge: str = "separate"
    options: Mapping[str, object] = field(default_factory=dict)
    prune: str | None = None
    pruners: tuple[str, ...] = ("taylor",)
    needs: str | None = None
    version: int = 0


PRUNERS = ("taylor", "vib")
"""Taylor (CVPR 2019) and VIBNet (ICML 2018) are the two pruners of the paper."""

REFERENCE = "pam"

_LIST = (
    Row("b1", "B1 alone", "every network pruned by itself; costs add up", "alone", pruners=PRUNERS),
    Row("b2-concat", "B2 concat", "all units shared by all tasks, then pruned", merge="concat", pruners=PRUNERS),
    Row("b2-mtz", "B2 MTZ", "zipped layer by layer into one shared trunk, then pruned", merge="mtz", pruners=PRUNERS),
    Row(
        "pam-paper",
        "PAM paper",
        "Regroup with the estimator of the published code, then pruned",
        merge="pam",
        options={"estimator": "paper"},
        pruners=PRUNERS,
    ),
    Row(
        "pam",
        "PAM",
        "Regroup of the later half of the layers with the robust estimator, then pruned",
        merge="pam",
        pruners=PRUNERS,
    ),
    Row(
        "pam-all",
        "PAM, every layer",
        "Regroup of every layer, the first ones too, then pruned",
        merge="pam",
        options={"shared": 0.0},
        pruners=PRUNERS,
    ),
    Row("pam-lattice", "PAM lattice", "Regroup into all 2^N - 1 groups, then pruned", merge="pam-lattice"),
    Row("branch", "branch", "the first layers shared by all, the others by nobody, then pruned", merge="branch"),
    Row("random", "random", "groups of PAM's sizes with random members, then pruned", merge="random"),
    Row("share", "share", "pruned by itself, then near-equal units become one", prune="share", version=3),
    Row("hard", "hard sharing", "one trunk of PAM's cost and a head per task, trained anew", "hard", needs=REFERENCE),
    Row("fresh", "PAM anew", "the network that PAM ended with, trained from new weights", "fresh", needs=REFERENCE),
)

ROWS: Mapping[str, Row] = {row.name: row for row in _LIST}
