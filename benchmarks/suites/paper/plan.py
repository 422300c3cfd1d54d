"""The jobs of a suite: networks to train, then cells; what is finished already is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from benchmarks.suites.paper.cell import Cell, run
from benchmarks.suites.paper.jobs import Job
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.setups import Setup
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import TASKS, train

__all__ = ["cells", "jobs"]


def cells(setup: Setup, rows: Iterable[str], pruners: Sequence[str], seeds: int, store: Store) -> list[Cell]:
    """The cells of the rows, and of those that they need, in the order of the rows, seed by seed."""
    wanted = set(rows)
    wanted |= {needed for name in wanted if (needed := ROWS[name].needs)}
    return [
        Cell(setup, row, pruner, seed, store)
        for seed in range(seeds)
        for row in ROWS.values()
        for pruner in pruners
        if row.name in wanted and pruner in row.pruners
    ]


def jobs(wanted: Sequence[Cell]) -> list[Job]:
    """A job for every cell without a result, and for every network that such a cell lacks."""
    made: dict[str, Job] = {}
    for cell in wanted:
        if cell.store.result(cell.folder) is not None:
            continue
        needs = []
        for task in TASKS[cell.setup.networks.data]:
            path = cell.store.weights(cell.setup.networks, cell.seed, task)
            if not path.exists():
                name = f"train {task} seed {cell.seed}"
                made.setdefault(name, Job(name, partial(train, cell.setup.networks, cell.seed, task, path)))
                needs.append(name)
        if cell.needed is not None and cell.store.result(cell.needed.folder) is None:
            needs.append(cell.needed.name)
        made[cell.name] = Job(cell.name, partial(run, cell), tuple(needs))
    return list(made.values())
