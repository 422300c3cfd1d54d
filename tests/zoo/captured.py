"""Captured zoo networks, each captured once per process, and comparisons that several tests share."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from pamc.capture import align, capture
from pamc.graph import Graph, MultitaskGraph
from tests.zoo import NETWORKS, network

__all__ = ["aligned", "captured", "images", "random_owners", "relative_error"]

TASKS = ("a", "b", "c")


@cache
def captured(name: str, index: int, wider: int = 0) -> tuple[nn.Module, Graph]:
    """The module (in float64) and the graph of task number `index`: its own weights and number of classes."""
    entry = NETWORKS[name]
    module = network(name, classes=3 + index, seed=index, width=entry.width + wider)
    graph = capture(TASKS[index], module, entry.shape)
    return module.double(), graph


@cache
def aligned(name: str, count: int = 2) -> MultitaskGraph:
    """The first `count` tasks of a zoo network, aligned."""
    return align({TASKS[index]: captured(name, index)[1] for index in range(count)})


def images(net: Graph, count: int = 3, seed: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random inputs for a graph."""
    shape = (count, *net.shapes[net.input.name])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def relative_error(mine: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest wanted value, which must not vanish."""
    assert mine.shape == wanted.shape
    assert wanted.abs().max() > 1e-3, "the comparison would say nothing"
    return float((mine - wanted).detach().abs().max() / wanted.detach().abs().max())


def random_owners(net: MultitaskGraph, seed: int, *, dead: bool = False) -> MultitaskGraph:
    """Random owners in every space that may change; one unit of each serves everyone, so that nobody starves."""
    generator = np.random.default_rng(seed)
    owners = {}
    for space in net.prunable:
        size = net.spaces.sizes[space]
        served = np.uint32(np.bitwise_or.reduce([net.serves[name] for name in net.spaces.producers[space]]))
        masks = generator.integers(0 if dead else 1, net.everyone + 1, size).astype(np.uint32) & served
        masks[0] = served
        if not dead:
            masks[masks == 0] = served
        owners[space] = masks
    return net.with_owners(owners)
