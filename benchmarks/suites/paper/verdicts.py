"""What the paper and pamc's own documentation promise, against what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.suites.paper.results import Results, View
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.stats import Mean

__all__ = ["CLAIMS", "Claim", "Verdict", "verdicts"]

Sets = Literal["one", "all", "every"]


@dataclass(frozen=True, slots=True)
class Claim:
    """``row`` against ``other``: at least ``least`` times as costly, or that many points more accurate.

    ``sets`` are the mean over single tasks, all tasks at once, or the mean over every set; None compares accuracies.
    ``suite`` names the only suite that the claim is about, None stands for all.
    """

    text: str
    row: str
    other: str
    sets: Sets | None
    least: float
    source: str
    suite: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim with what was found; ``word`` is ``holds``, ``open``, ``does not hold``, or why there is no answer."""

    claim: Claim
    word: str
    found: Mean | None
    matched: bool


# What pamc's own method has to beat.
RIVALS = ("b1", "b2-concat", "b2-mtz", "pam")

# The paper's figures: LeNet-5 rows of its table (B1 28.34 and 56.69, B2 52.58, PAM 28.49 / 26.16 and 48.68 MFLOPs), and
# the two ratios of its abstract.
CLAIMS = (
    Claim("one task: PAM costs what the networks pruned alone cost, within 5 %", "b1", "pam", "one", 0.95, "0.99–1.08"),
    Claim("all tasks: PAM costs less than the networks pruned alone", "b1", "pam", "all", 1.0, "1.16"),
    Claim("all five tasks: B1 over PAM", "b1", "pam", "all", 4.87, "4.87 (LFW)", "mnist-5"),
    Claim("one task: B2 concat over PAM", "b2-concat", "pam", "one", 2.01, "1.85–2.01", "paper-table"),
    Claim("one task: PAM costs less than B2 concat", "b2-concat", "pam", "one", 1.0, "1.85–2.01"),
    Claim("all tasks: PAM costs less than B2 concat", "b2-concat", "pam", "all", 1.0, "1.08"),
    Claim("one task: PAM costs less than B2 MTZ", "b2-mtz", "pam", "one", 1.0, "–"),
    Claim("all tasks: PAM costs less than B2 MTZ", "b2-mtz", "pam", "all", 1.0, "–"),
    Claim("the robust estimator beats the published one, mean of every set", "pam-paper", "pam", "every", 1.0, "–"),
    Claim(
        "the first layers shared beats Regroup of every layer, mean of every set", "pam-all", "pam", "every", 1.0, "–"
    ),
    Claim("the lattice beats N + 1 groups, mean of every set", "pam", "pam-lattice", "every", 1.0, "–"),
    Claim("Regroup beats random groups of the same sizes, mean of every set", "random", "pam", "every", 1.0, "–"),
    Claim("one task: share costs no more than the networks pruned alone", "b1", "share", "one", 1.0, "–"),
    *(Claim(f"all tasks: share costs no more than {ROWS[row].label}", row, "share", "all", 1.0, "–") for row in RIVALS),
    *(
        Claim(f"share takes at most 0.65 of {ROWS[row].label}, mean of every set", row, "share", "every", 1.54, "–")
        for row in RIVALS
    ),
    Claim("PAM is as accurate as hard sharing of its cost", "pam", "hard", None, 0.0, "–"),
    Claim("PAM is as accurate as its own network trained anew", "pam", "fresh", None, 0.0, "–"),
)


def verdicts(results: Results, pruner: str) -> list[Verdict]:
    """The verdict on every claim whose rows there are."""
    present, suite = {*results.rows(pruner)}, results.held["suite"]
    return [
        _verdict(results, pruner, claim)
        for claim in CLAIMS
        if {claim.row, claim.other} <= present and claim.suite in (None, suite)
    ]


def _verdict(results: Results, pruner: str, claim: Claim) -> Verdict:
    if claim.sets is None:
        found, matched = results.gap(claim.row, claim.other, pruner), True
    else:
        found = results.ratio(claim.row, claim.other, pruner, _view(results, claim.sets))
        matched = results.matched(claim.row, claim.other, pruner)
    if found is None:
        names = " or ".join(ROWS[row].label for row in (claim.row, claim.other) if results.missed(row, pruner))
        return Verdict(claim, f"no answer: {names} missed the budget", None, False)
    if not matched:
        return Verdict(claim, "not matched", found, False)
    if found.value < claim.least:
        word = "does not hold"
    else:
        word = "holds" if found.low >= claim.least and found.half is not None else "holds on average"
    return Verdict(claim, word, found, True)


def _view(results: Results, sets: Sets) -> View:
    if sets == "every":
        return results.everything
    return results.of_size(1 if sets == "one" else len(results.tasks))
