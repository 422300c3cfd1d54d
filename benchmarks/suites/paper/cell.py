"""One cell of a suite: one row, one pruner, one seed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pamc
from benchmarks.suites.datasets import Dataset
from benchmarks.suites.paper.controls import fresh, hard_sharing
from benchmarks.suites.paper.rows import ROWS, Row
from benchmarks.suites.paper.setups import Setup
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import dataset, separate
from pamc.data import shuffled
from pamc.errors import GoalMissedError
from pamc.graph import MultitaskGraph, cost, costs, name_of, restrict, stack, uniform_workload, verify_multitask
from pamc.merge import METHODS as MERGE_METHODS
from pamc.merge import Calibration
from pamc.progress import QuietProgress
from pamc.prune import METHODS as PRUNE_METHODS
from pamc.prune import Budget, Pruning, Settings
from pamc.prune.methods.taylor import TaylorOptions
from pamc.scoring import KINDS, Scorer
from pamc.train import Recipe, Samples, fit, predict
from pamc.views import owner_counts

__all__ = ["Cell", "run"]

CALIBRATION_SAMPLES = 1024


@dataclass(frozen=True)
class Cell:
    """A setup, a row of it, a pruner and a seed, and where its results are kept."""

    setup: Setup
    row: Row
    pruner: str
    seed: int
    store: Store

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row.name} {self.pruner} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where the result lies."""
        return self.store.cell(self.setup, self.row, self.pruner, self.seed)

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What came out, with the owners of the units of the network; None where the cell is not finished."""
        found = self.store.result(self.folder)
        if found is None or "missed" in found:
            return found
        return {**found, "owners": owner_counts(self.store.network(self.folder))}

    @property
    def merge_options(self) -> Mapping[str, object]:
        """The row's own options, and those of the setup."""
        return {**self.setup.merges.get(self.row.merge, {}), **self.row.options}

    @property
    def prune_method(self) -> str:
        """The row's own pruner, or the table's."""
        return self.row.prune or self.pruner

    @property
    def prune_options(self) -> Mapping[str, object]:
        """Those of the setup."""
        return self.setup.pruners.get(self.prune_method, {})

    @property
    def alone(self) -> Path:
        """Where networks pruned one by one lie. Methods that prune the network of a single task alike find the same."""
        method, options = self.prune_method, PRUNE_METHODS.parse_options(self.prune_method, self.prune_options)
        if isinstance(options, TaylorOptions):
            method, options = "taylor", {item.name: getattr(options, item.name) for item in fields(TaylorOptions)}
        return self.store.alone(self.setup, method, options, self.seed)

    def forget(self) -> None:
        """Drop the result, and the networks pruned one by one that it was found with."""
        self.store.drop(self.folder)
        shutil.rmtree(self.alone, ignore_errors=True)

    @property
    def needed(self) -> Cell | None:
        """The cell that this one starts from."""
        if self.row.needs is None:
            return None
        return Cell(self.setup, ROWS[self.row.needs], self.pruner, self.seed, self.store)


@dataclass
class _Run:
    """What a cell works with, and how long each part of it took."""

    cell: Cell
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def data(self) -> Dataset:
        return dataset(self.cell.setup.networks, self.cell.seed)

    @cached_property
    def separate(self) -> MultitaskGraph:
        networks, seed = self.cell.setup.networks, self.cell.seed
        weights = {task: self.cell.store.weights(networks, seed, task) for task in self.data.tasks}
        return separate(networks, self.data, seed, weights)

    @cached_property
    def train(self) -> Samples:
        return self.taught(self.data.train)

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.data.targets, self.taught(self.data.validation))

    @cached_property
    def settings(self) -> Settings:
        setup = self.cell.setup
        return Settings(epochs=setup.finetune, batch_size=setup.batch, learning_rate=setup.learning_rate)

    def taught(self, samples: Samples) -> Samples:
        return Samples(samples.x, samples.labels, predict(self.separate, samples.x))

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.spend(part, time.monotonic() - began)

    def spend(self, part: str, seconds: float) -> None:
        self.seconds[part] = round(self.seconds.get(part, 0.0) + seconds, 2)

    def merged(self, method: str, given: Mapping[str, object]) -> MultitaskGraph:
        few = shuffled(self.train, self.cell.seed, CALIBRATION_SAMPLES)
        kinds = dict.fromkeys(self.data.tasks, KINDS[self.data.loss])
        seen = Calibration(few.x, kinds, few.labels, seed=self.cell.seed, train=self.train, targets=self.data.targets)
        options = MERGE_METHODS.parse_options(method, given)
        return verify_multitask(MERGE_METHODS.get(method).function(self.separate, seen, options), method)

    def pruned(self, net: MultitaskGraph, fraction: float = 1.0) -> MultitaskGraph:
        method = self.cell.prune_method
        options = PRUNE_METHODS.parse_options(method, self.cell.prune_options)
        allowed = dict.fromkeys(net.tasks, fraction * self.cell.setup.max_drop)
        pruning = Pruning(
            train=self.train,
            targets=tuple(target for target in self.data.targets if target.task in net.tasks),
            workload=uniform_workload(len(net.tasks)),
            budget=Budget(macs=None, max_drop=allowed, fraction=fraction),
            drops=self.scorer.drops,
            alone=lambda parts: [{task: self.alone(task, part) for task in self.data.tasks} for part in parts],
            merged=lambda name: self.merged(name, self.cell.setup.merges.get(name, {})),
            settings=self.settings,
            seed=self.cell.seed,
        )
        return PRUNE_METHODS.get(method).function(net, pruning, options)

    def alone(self, task: str, fraction: float = 1.0) -> MultitaskGraph:
        """A task's own network, pruned; found by the first row that asks, while all rows count the time it took."""
        folder, store = self.cell.alone / f"{task}-{fraction:g}", self.cell.store
        kept = store.result(folder)
        if kept is None:
            began = time.monotonic()
            net = self.pruned(restrict(self.separate, [task]), fraction)
            kept = {"seconds": time.monotonic() - began}
            store.keep(folder, kept, net)
            self.spend("prune", -kept["seconds"])
        self.spend("alone", kept["seconds"])
        return store.network(folder)

    def trained(self, net: MultitaskGraph) -> MultitaskGraph:
        """From new weights, on labels and the single networks' answers, as pruning trains."""
        steps = self.cell.setup.control * (len(self.train) // self.settings.batch_size)
        recipe = Recipe(
            steps,
            self.settings.batch_size,
            self.cell.setup.networks.learning_rate,
            self.settings.distill,
            self.cell.seed,
        )
        return fit(fresh(net, self.cell.seed), self.train, self.data.targets, recipe, QuietProgress())

    def network(self) -> MultitaskGraph:
        kind = self.cell.row.kind
        if kind == "alone":
            with self.timed("prune"):
                return stack(self.separate, map(self.alone, self.data.tasks))
        if kind == "merge":
            with self.timed("merge"):
                merged = self.merged(self.cell.row.merge, self.cell.merge_options)
            with self.timed("prune"):
                return self.pruned(merged)
        with self.timed("train"):
            reference = self.reference()
            if kind == "hard":
                reference = hard_sharing(self.separate, cost(reference, reference.everyone).macs)
            return self.trained(reference)

    def reference(self) -> MultitaskGraph:
        needed = self.cell.needed
        assert needed is not None
        found = needed.store.result(needed.folder)
        if found is None or "missed" in found:
            raise GoalMissedError(f"the row {needed.row.name}, whose network this row takes, kept no budget")
        return needed.store.network(needed.folder)


def run(cell: Cell) -> str:
    """Compute a cell and keep its result. Returns a line about it.

    A budget that no network keeps is a result too; every other error is raised.
    """
    work = _Run(cell)
    with work.timed("prepare"):
        # One after another: the teacher's answers are part of the preparation, not of merging or pruning.
        test, _ = work.taught(work.data.test), (work.train, work.scorer)
    result: dict[str, Any] = {
        "row": cell.row.name,
        "pruner": cell.pruner,
        "seed": cell.seed,
        "tasks": list(work.data.tasks),
        "merge": {"method": cell.row.merge, "options": dict(cell.merge_options)},
        "prune": {"method": cell.prune_method, "options": dict(cell.prune_options)},
        "versions": {"pamc": pamc.__version__, "torch": str(torch.__version__), "numpy": np.__version__},
        "originals": dict(Scorer(work.data.targets, test).scores(work.separate)),
        "unpruned": _costs(work.separate),
    }
    net: MultitaskGraph | None = None
    try:
        net = work.network()
    except GoalMissedError as error:
        result |= {"missed": str(error)}
        line = "missed the budget"
    else:
        scorer = Scorer(work.data.targets, test)
        result |= {
            "accuracies": dict(scorer.scores(net)),
            "drops": {"test": dict(scorer.drops(net)), "validation": dict(work.scorer.drops(net))},
            "costs": _costs(net),
        }
        everyone = cost(net, net.everyone)
        line = f"{np.mean(list(result['accuracies'].values())):.2f} %, {everyone.macs / 1e6:.4g} M MACs for all tasks"
    result["seconds"] = work.seconds
    cell.store.keep(cell.folder, result, net)
    return line


def _costs(net: MultitaskGraph) -> Mapping[str, Mapping[str, int]]:
    return {
        name_of(mask, net.tasks): {"macs": found.macs, "flops": found.flops, "params": found.params}
        for mask, found in costs(net).items()
    }
