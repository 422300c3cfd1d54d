"""The results file: what was measured of every row, runtime and task set, and the figures that pages take from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.suites.peers.formats import runtime_of
from benchmarks.suites.peers.measuring import AGAIN, EMPTY
from benchmarks.suites.peers.programs import Written
from pamc.task_sets import all_task_sets
from pamc_bench.differences import paired_change
from pamc_bench.stats import Interval, block_interval

__all__ = ["SCHEMA", "Results", "figures", "read", "times"]

SCHEMA = 1
"""The version of the results file."""

Data = Mapping[str, Any]
MS = 1e6


def figures(written: Written, accuracy: Data, memory: Data, instructions: Mapping[str, Data]) -> list[dict[str, Any]]:
    """What a row has in one runtime, a record for each task set; ``instructions`` are by board."""
    return [
        {
            "row": written.row,
            "runtime": runtime_of(written.format),
            "task_set": task_set,
            "accuracies": accuracy["accuracies"][task_set],
            "macs": program.macs,
            "computed_macs": program.computed_macs,
            "params": program.params,
            "bytes": program.bytes,
            "bytes_of_all_sets": written.bytes,
            "resident_kib": memory["resident"][task_set],
            "error": accuracy["error"],
            "instructions": {board: found["instructions"][task_set] for board, found in instructions.items()},
        }
        for task_set, program in written.programs.items()
    ]


def times(blocks: Sequence[Data], runtime: str) -> list[dict[str, Any]]:
    """Medians of blocks in ms with their interval, for each row and task set, AGAIN and EMPTY among the rows."""
    found = []
    for task_set, row_names in blocks[0]["ns"].items():
        for row in row_names:
            medians = [block["ns"][task_set][row]["median"] / MS for block in blocks]
            interval = block_interval(medians)
            found.append(
                {
                    "row": row,
                    "runtime": runtime,
                    "task_set": task_set,
                    "ms": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "blocks": medians,
                    "runs": sum(block["ns"][task_set][row]["runs"] for block in blocks),
                    "steady": all(block["ns"][task_set][row]["steady"] for block in blocks),
                }
            )
    return found


def read(path: Path) -> Results:
    """The results in a file. Raises ValueError for a file of another kind or version."""
    held = json.loads(path.read_text(encoding="utf-8"))
    if held.get("kind") != "peers" or held.get("schema") != SCHEMA:
        raise ValueError(f"{path} holds no results of this suite, or of another version of it")
    return Results(held)


@dataclass(frozen=True)
class Results:
    """The content of a results file."""

    held: Data

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in task order."""
        return tuple(self.held["tasks"])

    @cached_property
    def runtimes(self) -> tuple[str, ...]:
        """Runtimes with figures."""
        return tuple(dict.fromkeys(item["runtime"] for item in self.held["figures"]))

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """Rows with figures, in the order of the tables."""
        present = {item["row"] for item in self.held["figures"]}
        return tuple(row["name"] for row in self.held["rows"] if row["name"] in present)

    @property
    def sets(self) -> tuple[str, ...]:
        """All task sets, small ones first."""
        return all_task_sets(self.tasks)

    def of_size(self, size: int) -> tuple[str, ...]:
        """The task sets of so many tasks."""
        return tuple(name for name in self.sets if name.count("+") == size - 1)

    def label(self, row: str) -> str:
        """What a row is called in tables."""
        return str(next(item["label"] for item in self.held["rows"] if item["name"] == row))

    def figure(self, row: str, runtime: str, task_set: str) -> Data:
        """One record of :func:`figures`."""
        return self._figures[row, runtime, task_set]

    def mean(self, row: str, runtime: str, sets: Iterable[str], quantity: str) -> float:
        """The mean of a quantity of the figures over task sets."""
        return fmean(self.figure(row, runtime, name)[quantity] for name in sets)

    def has(self, row: str, runtime: str) -> bool:
        """Whether a row was measured in a runtime."""
        return (row, runtime, self.sets[0]) in self._figures

    def accuracy(self, row: str, runtime: str) -> float:
        """The mean test accuracy of all tasks in percent, when all are asked for."""
        return fmean(self.figure(row, runtime, self.sets[-1])["accuracies"].values())

    def time(self, row: str, runtime: str, task_set: str) -> Data:
        """One record of :func:`times`."""
        return self._times[row, runtime, task_set]

    def expected(self, row: str, runtime: str, sets: Sequence[str]) -> Interval:
        """The mean time in ms over task sets, block by block, with the interval over blocks."""
        blocks = zip(*(self.time(row, runtime, name)["blocks"] for name in sets), strict=True)
        return block_interval([fmean(block) for block in blocks])

    def change(self, row: str, over: str, runtime: str, sets: Sequence[str]) -> Interval:
        """By which fraction ``row`` takes longer than ``over``, in the mean over task sets, block by block."""
        means = [
            [fmean(block) for block in zip(*(self.time(name, runtime, each)["blocks"] for each in sets), strict=True)]
            for name in (row, over)
        ]
        return paired_change(*means)

    def noise(self, runtime: str) -> float:
        """The median over task sets of by which fraction the last row differs from itself."""
        last = self.rows[-1]
        return median(abs(self.change(AGAIN, last, runtime, [name]).value) for name in self.sets)

    def call(self, runtime: str) -> float:
        """The median over task sets of the milliseconds that a file takes which computes next to nothing."""
        return median(self.time(EMPTY, runtime, name)["ms"] for name in self.sets)

    @cached_property
    def boards(self) -> tuple[str, ...]:
        """Boards with instruction counts."""
        return tuple(dict.fromkeys(board for item in self.held["figures"] for board in item["instructions"]))

    @cached_property
    def _figures(self) -> dict[tuple[str, str, str], Data]:
        return {(item["row"], item["runtime"], item["task_set"]): item for item in self.held["figures"]}

    @cached_property
    def _times(self) -> dict[tuple[str, str, str], Data]:
        return {(item["row"], item["runtime"], item["task_set"]): item for item in self.held["times"]}
