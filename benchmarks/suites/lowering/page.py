"""docs/benchmarks/lowering.md from the rows that were measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any

__all__ = ["LIMITS", "SHOWN", "page"]

LIMITS = {2: 1.10, 3: 1.20, 4: 1.20}
SHOWN = 0.9
BYTES = 1.05

HEAD = """# Lowering: do MACs saved show as time saved?

Written by `python benchmarks/suites/lowering`; the numbers of every task set are in [lowering.json](lowering.json).

VGG-16 and ResNet-18 with random weights, in which every task owns about as many units a layer as the network has by
itself. *pam*: half of a task's units are its own, half are everybody's. *lattice*: a group for every set of tasks, all
of one size. Groups have at least 16 units, and multiples of 16.

*factor* is time over MACs, both relative to one dense network as wide as what runs for the task set: 1.00 when time
follows MACs. It should be at most 1.10 with two tasks and 1.20 with three or four. *one op a group* is the same without
folds and splits. *shown* is the part of the MACs saved, against the dense networks of the single tasks run one after
another, that shows as time saved; it should be at least 0.90. Task sets of one size are a row: the median, and the
worst of them.
"""


def _met(good: bool) -> str:
    return "yes" if good else "**no**"


def _lines(data: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    head = ("network", "split", "tasks", "image", "asked", "MACs", "time", "factor", "worst", "one op a group", "met")
    yield f"| {' | '.join([*head, 'shown', 'met'])} |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |"

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        setup = row["setup"]
        count = row["task_set"].count("+") + 1
        return setup["tasks"], setup["split"], setup["network"], setup["size"], count

    for (tasks, split, network, size, count), found in groupby(sorted(data, key=key), key):
        held = list(found)
        names = ("macs", "time", "factor", "plain_factor")
        macs, time, factor, plain = (median(row[name] for row in held) for name in names)
        worst, shown = max(row["factor"] for row in held), min(row["shown"] for row in held)
        numbers = " | ".join(f"{number:.2f}" for number in (macs, time, factor, worst, plain))
        yield (
            f"| {network} | {split} | {tasks} | {size} | {count} | {numbers} | {_met(worst <= LIMITS[tasks])} "
            f"| {shown:.2f} | {_met(shown >= SHOWN)} |"
        )


def _summary(data: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    within = [row["factor"] <= LIMITS[row["setup"]["tasks"]] for row in data]
    shown = [row["shown"] >= SHOWN for row in data]
    size = max(row["bytes"] for row in data)
    errors = [abs(row["estimated_ms"] / row["ms"] - 1) for row in data if row["estimated_ms"]]
    yield f"- The limit on the factor holds for {sum(within)} of {len(within)} task sets."
    yield f"- At least 0.90 of the MACs saved show as time for {sum(shown)} of {len(shown)}."
    yield f"- The weights for all task sets are at most {size:.3f} times those of all tasks (limit {BYTES})."
    if errors:
        yield f"- Estimated times are off by {median(errors):.0%} (median), {max(errors):.0%} (worst)."


def page(data: Sequence[Mapping[str, Any]], environment: str, notes: str) -> str:
    """The page: a table for each runtime, and ``notes`` on what they mean."""
    parts = [HEAD, f"Measured on: {environment}. One thread, thread CPU time, variants interleaved in random order.\n"]
    for runtime in dict.fromkeys(row["runtime"] for row in data):
        held = [row for row in data if row["runtime"] == runtime]
        parts += [f"## {runtime}\n", *_summary(held), "", *_lines(held), ""]
    return "\n".join([*parts, notes])
