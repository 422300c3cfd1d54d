"""Goals for a comparison, such as ``slower=3%``: what is compared, and how an interval meets a limit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pamc.errors import ConfigError
from pamc.registry import did_you_mean
from pamc_bench.differences import Interval, paired_change, unpaired_change
from pamc_bench.results import Block, Variant

__all__ = ["MEASURES", "Goal", "Verdict", "change_of", "judge", "parse_goals"]

Verdict = Literal["missed", "met", "undecided"]

MEASURES = {
    "slower": "median time of an inference",
    "first": "first inference",
    "load": "time to load",
    "memory": "largest resident memory",
    "instructions": "instructions of an inference",
}
"""What goals may be about, with the words for it; all are better when they are less."""

TIMED = ("slower", "first", "load")


@dataclass(frozen=True, slots=True)
class Goal:
    """``measure`` may grow by the fraction ``limit``, no more."""

    measure: str
    limit: float

    def __str__(self) -> str:
        return f"{self.measure}={100 * self.limit:g}%"


def parse_goals(texts: Sequence[str]) -> tuple[Goal, ...]:
    """Goals from ``slower=3%``, several of them separated by commas or apart. Raises ConfigError."""
    goals = []
    for text in ",".join(texts).split(",") if texts else []:
        name, equals, value = (part.strip() for part in text.partition("="))
        if name not in MEASURES:
            cure = f"use one of: {', '.join(MEASURES)}"
            raise ConfigError(
                f"no goal can be about '{name}'{did_you_mean(name, list(MEASURES))}", where=text, cure=cure
            )
        if not equals or not re.fullmatch(r"\d+(\.\d+)?\s*%", value):
            raise ConfigError("a goal needs a limit in percent", where=text, cure=f"write it as {name}=3%")
        goals.append(Goal(name, float(value.rstrip("% ")) / 100))
    return tuple(goals)


def _time(block: Block, measure: str) -> float:
    if measure == "slower":
        return float(median(block.ns))
    return float(block.first_ns if measure == "first" else block.load_ns)


def _exactly(after: float, before: float) -> Interval:
    change = after / before - 1
    return Interval(change, change, change, 1.0)


def change_of(measure: str, after: Variant, before: Variant, *, paired: bool) -> Interval | None:
    """The relative change of one measure, or None where one of the two lacks it.

    Times have an interval: over the rounds when the two were measured in the same rounds (``paired``), else over their
    blocks. Memory and counts are compared as they are.
    """
    if measure == "memory":
        both = after.memory, before.memory
        return _exactly(both[0].vm_hwm_kib, both[1].vm_hwm_kib) if both[0] and both[1] else None
    if measure == "instructions":
        counts = after.counts, before.counts
        return _exactly(counts[0].total, counts[1].total) if counts[0] and counts[1] else None
    if not after.blocks or not before.blocks:
        return None
    if not paired:
        times = [[_time(block, measure) for block in variant.blocks] for variant in (after, before)]
        return unpaired_change(*times)
    above, below = ({block.round: _time(block, measure) for block in variant.blocks} for variant in (after, before))
    rounds = sorted(set(above) & set(below))
    return paired_change([above[n] for n in rounds], [below[n] for n in rounds]) if rounds else None


def judge(change: Interval, limit: float) -> Verdict:
    """Missed when the whole interval lies above the limit, met when it lies within, undecided when it spans it.

    So a change that is not above the limit is called missed in 2.5 % of all comparisons at most, whatever the noise;
    noise makes comparisons undecided.
    """
    if change.low > limit:
        return "missed"
    return "met" if change.high <= limit else "undecided"
