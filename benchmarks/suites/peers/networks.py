"""The networks of every row: what has to be trained, and what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.suites.paper.cell import Cell
from benchmarks.suites.paper.jobs import Job
from benchmarks.suites.paper.plan import jobs as cell_jobs
from benchmarks.suites.paper.rows import ROWS as CELLS
from benchmarks.suites.paper.setups import Setup
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import TASKS, dataset, separate, train
from benchmarks.suites.peers import by_torch_pruning
from benchmarks.suites.peers.by_torch_pruning import Search
from benchmarks.suites.peers.rows import Row
from benchmarks.suites.peers.suites import PRUNER
from pamc.graph import MultitaskGraph, restrict

__all__ = ["Comparison", "Networks", "jobs", "networks", "origin", "originals"]

Networks = Mapping[str, MultitaskGraph]
"""Networks by the task set that each answers, written ``a+b``; together they answer all tasks."""


@dataclass(frozen=True)
class Comparison:
    """What is compared: a setup, a seed, and how Torch-Pruning searches. ``store`` keeps what is trained."""

    setup: Setup
    seed: int
    store: Store
    search: Search = field(default_factory=Search)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in task order."""
        return TASKS[self.setup.networks.data]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return dataset(self.setup.networks, self.seed).shape

    def cell(self, row: Row) -> Cell:
        """The cell of the paper's suites that a row takes its network from."""
        assert row.cell is not None
        return Cell(self.setup, CELLS[row.cell], PRUNER, self.seed, self.store)


def jobs(comparison: Comparison, rows: Iterable[Row]) -> list[Job]:
    """A job for each network that is not there yet."""
    setup, seed, store, search = comparison.setup, comparison.seed, comparison.store, comparison.search
    wanted = list(rows)
    named: dict[str, Job] = {}
    for task in comparison.tasks:
        path = store.weights(setup.networks, seed, task)
        if not path.exists():
            name = f"train {task} seed {seed}"
            named[name] = Job(name, partial(train, setup.networks, seed, task, path))
    trained = tuple(named)
    cells = [comparison.cell(row) for row in wanted if row.cell is not None]
    needed = [cell.needed for cell in cells if cell.needed is not None]
    named |= {job.name: job for job in cell_jobs([*needed, *cells])}
    if any(row.source == "torch-pruning" for row in wanted):
        for task in comparison.tasks:
            if store.result(by_torch_pruning.folder_of(store, setup, seed, task, search)) is None:
                name = f"torch-pruning {task} seed {seed}"
                named[name] = Job(name, partial(by_torch_pruning.prune, setup, seed, task, store, search), trained)
    return list(named.values())


def originals(comparison: Comparison) -> MultitaskGraph:
    """The single-task networks as they came."""
    networks, seed, store = comparison.setup.networks, comparison.seed, comparison.store
    weights = {task: store.weights(networks, seed, task) for task in comparison.tasks}
    return separate(networks, dataset(networks, seed), seed, weights)


def networks(comparison: Comparison, row: Row) -> Networks | str:
    """The networks of a row, or why there are none: not computed, or none that kept the budget."""
    found = _found(comparison, row)
    if isinstance(found, MultitaskGraph):
        if row.packing == "apart":
            return {task: restrict(found, [task]) for task in found.tasks}
        return {"+".join(found.tasks): found}
    return found


def origin(comparison: Comparison, row: Row) -> Mapping[str, Any]:
    """What is known about how the networks of a row were made."""
    if row.source == "cell":
        found = comparison.store.result(comparison.cell(row).folder) or {}
        return {key: found[key] for key in ("merge", "prune", "seconds", "versions", "missed") if key in found}
    if row.source == "torch-pruning":
        store, setup, seed, search = comparison.store, comparison.setup, comparison.seed, comparison.search
        folders = {task: by_torch_pruning.folder_of(store, setup, seed, task, search) for task in comparison.tasks}
        return {task: store.result(folder) for task, folder in folders.items()}
    return {}


def _found(comparison: Comparison, row: Row) -> MultitaskGraph | Networks | str:
    setup, seed, store = comparison.setup, comparison.seed, comparison.store
    missing = [task for task in comparison.tasks if not store.weights(setup.networks, seed, task).exists()]
    if missing:
        return f"the networks of {', '.join(missing)} are not trained"
    if row.source == "originals":
        return originals(comparison)
    if row.source == "torch-pruning":
        folders = {
            task: by_torch_pruning.folder_of(store, setup, seed, task, comparison.search) for task in comparison.tasks
        }
        if any(store.result(folder) is None for folder in folders.values()):
            return "not computed"
        return {task: store.network(folder) for task, folder in folders.items()}
    cell = comparison.cell(row)
    result = store.result(cell.folder)
    if result is None:
        return "not computed"
    if "missed" in result:
        return "no network kept the budget"
    return store.network(cell.folder)
