"""The finished cells of a suite as one JSON file, and the figures that tables and plots take from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from benchmarks.suites.paper.rows import PRUNERS, ROWS
from benchmarks.suites.paper.setups import Setup, Suite
from benchmarks.suites.paper.stats import Mean, mean_of
from benchmarks.suites.paper.store import VERSION, write
from pamc.task_sets import all_task_sets
from pamc_bench.environment import describe_machine

__all__ = ["MATCHED", "Found", "Results", "View", "collect", "read"]

Quantity = Literal["flops", "macs", "params"]
Found = Mapping[str, Any]

MATCHED = 0.5
"""Mean accuracies further apart than this, in points, are no equal accuracies."""


@dataclass(frozen=True, slots=True)
class View:
    """Task sets that are averaged, and what they are called."""

    label: str
    sets: tuple[str, ...]


def collect(suite: Suite, scale: str, setup: Setup, command: str, cells: Sequence[Found], path: Path) -> None:
    """Write the results of finished cells, with the command and the machine that made them."""
    held = {
        "suite": suite.name,
        "title": suite.title,
        "scale": scale,
        "command": command,
        "version": VERSION,
        "machine": describe_machine(("torch",)),
        "setup": asdict(setup),
        "cells": cells,
    }
    write(path, (json.dumps(held, indent=1) + "\n").encode())


def read(path: Path) -> Results:
    """The results in a file."""
    return Results(json.loads(path.read_text()))


@dataclass(frozen=True)
class Results:
    """The content of a results file. Figures of a row come by seed; a seed whose cell missed its budget is absent."""

    held: Found

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in task order."""
        return tuple(self.held["cells"][0]["tasks"])

    @property
    def budget(self) -> float:
        """How many points of validation accuracy a task may lose."""
        return float(self.held["setup"]["max_drop"])

    @property
    def pruners(self) -> tuple[str, ...]:
        """The pruners that there are results of."""
        present = {cell["pruner"] for cell in self.held["cells"]}
        return tuple(name for name in PRUNERS if name in present)

    def rows(self, pruner: str) -> tuple[str, ...]:
        """The rows with results, missed ones included, in the order of the suites."""
        present = {cell["row"] for cell in self.held["cells"] if cell["pruner"] == pruner}
        return tuple(name for name in ROWS if name in present)

    def missed(self, row: str, pruner: str) -> int:
        """How many seeds kept no budget."""
        return sum("missed" in cell for cell in self._cells[row, pruner].values())

    @cached_property
    def views(self) -> tuple[View, ...]:
        """What the tables show: every set of up to three tasks; of more, single tasks and means by size."""
        sets = all_task_sets(self.tasks)
        if len(self.tasks) <= 3:
            return tuple(View(name, (name,)) for name in sets)
        some = [self.of_size(size) for size in self.sizes[1:-1]]
        means = [View(f"mean of {len(view.sets)} sets of {view.label}", view.sets) for view in some]
        return (*(View(name, (name,)) for name in self.tasks), *means, View("all tasks", sets[-1:]))

    @property
    def sizes(self) -> range:
        """Numbers of tasks that a set may have."""
        return range(1, len(self.tasks) + 1)

    @property
    def everything(self) -> View:
        """All task sets: their mean is the expected cost under a uniform workload."""
        return View("mean of all sets", all_task_sets(self.tasks))

    def of_size(self, size: int) -> View:
        """The sets of so many tasks."""
        return View(str(size), tuple(name for name in all_task_sets(self.tasks) if name.count("+") == size - 1))

    def costs(self, row: str, pruner: str, view: View, quantity: Quantity) -> dict[int, float]:
        """The mean cost over the sets of a view."""
        return {
            seed: fmean(cell["costs"][name][quantity] for name in view.sets)
            for seed, cell in self._kept(row, pruner).items()
        }

    def nested(self, row: str, pruner: str, quantity: Quantity) -> dict[int, float]:
        """The mean cost over all task sets if each cost what the dearest of its tasks costs by itself.

        Nothing cheaper is possible while single tasks cost what they do: a set contains each of its tasks.
        """
        return {
            seed: fmean(max(cell["costs"][task][quantity] for task in name.split("+")) for name in self.everything.sets)
            for seed, cell in self._kept(row, pruner).items()
        }

    def unpruned(self, view: View, quantity: Quantity) -> float:
        """The cost of the single-task networks as they came; the same for every seed."""
        return fmean(self.held["cells"][0]["unpruned"][name][quantity] for name in view.sets)

    def accuracies(self, row: str, pruner: str, tasks: Sequence[str]) -> dict[int, float]:
        """The mean test accuracy of some tasks, in percent."""
        return {
            seed: fmean(cell["accuracies"][task] for task in tasks) for seed, cell in self._kept(row, pruner).items()
        }

    def originals(self, tasks: Sequence[str]) -> dict[int, float]:
        """The mean test accuracy of some of the single-task networks."""
        by_seed = {cell["seed"]: cell["originals"] for cell in self.held["cells"]}
        return {seed: fmean(found[task] for task in tasks) for seed, found in sorted(by_seed.items())}

    def ratio(self, over: str, under: str, pruner: str, view: View, quantity: Quantity = "flops") -> Mean | None:
        """How many times as costly ``over`` is as ``under``, seed by seed; None without a common seed."""
        above, below = (self.costs(row, pruner, view, quantity) for row in (over, under))
        common = sorted(above.keys() & below.keys())
        return mean_of([above[seed] / below[seed] for seed in common]) if common else None

    def gap(self, row: str, other: str, pruner: str) -> Mean | None:
        """Mean accuracy of ``row`` minus that of ``other``, in points, seed by seed."""
        first, second = (self.accuracies(name, pruner, self.tasks) for name in (row, other))
        common = sorted(first.keys() & second.keys())
        return mean_of([first[seed] - second[seed] for seed in common]) if common else None

    def matched(self, row: str, other: str, pruner: str) -> bool:
        """Whether their mean accuracies are close enough to compare costs."""
        gap = self.gap(row, other, pruner)
        return gap is not None and abs(gap.value) <= MATCHED

    def owners(self, row: str, pruner: str) -> Mapping[str, Mapping[str, int]] | None:
        """The numbers of units by space and owners of the first seed's network."""
        return next((cell["owners"] for cell in self._kept(row, pruner).values() if "owners" in cell), None)

    def seconds(self, row: str) -> float:
        """The mean time of a row's cells, without training the single-task networks."""
        return fmean(sum(cell["seconds"].values()) for cell in self.held["cells"] if cell["row"] == row)

    @cached_property
    def _cells(self) -> dict[tuple[str, str], dict[int, Found]]:
        table: dict[tuple[str, str], dict[int, Found]] = {}
        for cell in sorted(self.held["cells"], key=lambda cell: int(cell["seed"])):
            table.setdefault((cell["row"], cell["pruner"]), {})[cell["seed"]] = cell
        return table

    def _kept(self, row: str, pruner: str) -> dict[int, Found]:
        cells = self._cells.get((row, pruner), {})
        return {seed: cell for seed, cell in cells.items() if "missed" not in cell}
