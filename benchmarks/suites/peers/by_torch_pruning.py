"""Torch-Pruning: the smallest network of each task that keeps its budget, by bisection over the pruning ratio.

Fang et al., "DepGraph: towards any structural pruning", CVPR 2023. The library prunes the PyTorch module by its own
importance and its own pruner; what is left is trained and scored as pamc's candidates are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.suites.datasets import Dataset
from benchmarks.suites.paper import nets
from benchmarks.suites.paper.setups import Setup
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import dataset, normalized, separate
from pamc.bundle.digest import digest
from pamc.capture import align, capture, load_weights
from pamc.graph import MultitaskGraph, cost
from pamc.progress import QuietProgress
from pamc.prune import Settings
from pamc.scoring import Scorer
from pamc.train import Recipe, Samples, Target, fit, predict

__all__ = ["IMPORTANCES", "Search", "bisect", "folder_of", "graph_of", "prune", "pruned"]

VERSION = 1
IMPORTANCES = ("GroupMagnitudeImportance", "GroupTaylorImportance")


@dataclass(frozen=True, slots=True)
class Search:
    """``candidates`` ratios are tried with each of the ``importances``, Torch-Pruning's own names; the smallest network
    that keeps the budget is kept.

    All layers compete with each other (global pruning). ``steps`` is what the library calls iterative steps, by default
    one as in its own examples. ``images`` training images give the gradients that an importance may need.
    """

    importances: tuple[str, ...] = IMPORTANCES
    candidates: int = 5
    steps: int = 1
    images: int = 512


def folder_of(store: Store, setup: Setup, seed: int, task: str, search: Search) -> Path:
    """Where the pruned network of a task lies."""
    own = (setup.networks, setup.max_drop, setup.finetune, setup.batch, setup.learning_rate)
    return store.root / "peers" / "torch-pruning" / digest(VERSION, version("torch-pruning"), own, seed, task, search)


def bisect(inside: Callable[[float], bool], candidates: int) -> float:
    """The largest ratio in (0, 1) that bisection finds ``inside``; 0 where it finds none."""
    low, high = 0.0, 1.0
    for _ in range(candidates):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return low


def pruned(net: nn.Module, data: Dataset, task: str, importance: str, ratio: float, search: Search) -> nn.Module:
    """The module with ``ratio`` of its channels removed, in place; its head, the last linear layer, stays as it is."""
    import torch_pruning

    x, y = (torch.from_numpy(array[: search.images]) for array in (data.train.x, data.train.labels[task]))
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    pruner = torch_pruning.pruner.BasePruner(
        net,
        normalized(x[:1], data),
        getattr(torch_pruning.importance, importance)(),
        global_pruning=True,
        pruning_ratio=ratio,
        iterative_steps=search.steps,
        ignored_layers=[head],
    )
    for _ in range(search.steps):
        net.zero_grad()
        F.cross_entropy(net(normalized(x, data)), y).backward()
        pruner.step()
    return net


def prune(setup: Setup, seed: int, task: str, store: Store, search: Search) -> str:
    """Search for one task and keep the network and how it was found. Returns a line about it."""
    began = time.process_time()
    data = dataset(setup.networks, seed)
    weights = {name: store.weights(setup.networks, seed, name) for name in data.tasks}
    originals = separate(setup.networks, data, seed, weights)

    def taught(samples: Samples) -> Samples:
        return Samples(samples.x, samples.labels, predict(originals, samples.x))

    train, scorer = taught(data.train), Scorer(data.targets, taught(data.validation))
    target = next(target for target in data.targets if target.task == task)
    original = graph_of(_module(setup, data, weights[task], task), data, task)
    found: list[tuple[int, MultitaskGraph]] = [(cost(original, 1).macs, original)]
    trials: list[dict[str, object]] = []
    for importance in search.importances:

        def inside(ratio: float, importance: str = importance) -> bool:
            module = _module(setup, data, weights[task], task)
            net = graph_of(pruned(module, data, task, importance, ratio, search), data, task)
            macs = cost(net, 1).macs
            trial: dict[str, object] = {"importance": importance, "ratio": ratio, "macs": macs}
            trials.append(trial)
            if macs >= min(size for size, _ in found):
                # Nothing to gain from training it: go on to smaller ones.
                return True
            net = _trained(net, setup, train, target, seed)
            drop = scorer.drops(net)[task]
            trial["drop"] = drop
            if drop <= setup.max_drop:
                found.append((macs, net))
            return drop <= setup.max_drop

        bisect(inside, search.candidates)
    macs, net = min(found, key=lambda item: item[0])
    seconds = round(time.process_time() - began, 1)
    result = {"task": task, "macs": macs, "trials": trials, "cpu_seconds": seconds}
    store.keep(folder_of(store, setup, seed, task, search), result, net)
    trained = sum("drop" in trial for trial in trials)
    return f"{macs / 1e6:.4g} M MACs of {cost(original, 1).macs / 1e6:.4g} M, {trained} candidates trained"


def graph_of(module: nn.Module, data: Dataset, task: str) -> MultitaskGraph:
    """The module as a network of one task, for uint8 images."""
    return align({task: capture(task, module.eval(), data.shape, dtype="uint8", normalize=data.normalize)})


def _module(setup: Setup, data: Dataset, weights: Path, task: str) -> nn.Module:
    networks = setup.networks
    module = nets.make(networks.net, data.shape, data.classes[task], networks.net_options, seed=0)
    load_weights(module, weights)
    return module.eval()


def _trained(net: MultitaskGraph, setup: Setup, train: Samples, target: Target, seed: int) -> MultitaskGraph:
    # What every candidate of pamc's own search gets.
    settings = Settings(batch_size=setup.batch, learning_rate=setup.learning_rate)
    steps = setup.finetune * (len(train) // settings.batch_size)
    recipe = Recipe(steps, settings.batch_size, settings.learning_rate, settings.distill, seed)
    return fit(net, train, (target,), recipe, QuietProgress())
