"""Channel spaces against the dependency groups of Torch-Pruning, which it finds from the autograd graph."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from pamc.capture import capture
from pamc.graph import Graph
from pamc.graph.ops import BatchNorm, DepthwiseConv
from tests.zoo import NETWORKS
from tests.zoo.captured import captured

Place = tuple[str, str, int]
"""(module, ``out``, ``in`` or ``tied``, channel): norms and depthwise convolutions have one axis of channels."""


class Branches(nn.Module):
    """A norm and a filter over the channels of two layers, and a sum inside a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(9)
        self.filter = nn.Conv2d(9, 9, 3, padding=1, groups=9)
        self.left = nn.Conv2d(9, 4, 1)
        self.right = nn.Conv2d(9, 5, 1)
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        one = torch.relu(self.one(x))
        wide = self.filter(self.norm(torch.cat([one, self.two(x)], 1)))
        return self.head(torch.cat([self.left(wide) + one, self.right(wide)], 1).mean((2, 3)))


class Nested(Branches):
    """The sum of two concatenations inside another one, which is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(4, 2, 1)
        self.head = nn.Linear((9 + 2) * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        one = torch.relu(self.one(x))
        wide = self.filter(self.norm(torch.cat([one, self.two(x)], 1)))
        both = torch.cat([self.left(wide), self.right(wide)], 1) + wide
        return self.head(torch.cat([both, self.last(one)], 1).flatten(1))


def ours(graph: Graph) -> dict[Place, set[Place]]:
    """For each unit of each producer, everything that is pruned with it."""
    spaces, names = graph.spaces, {node.name: node.origin.module for node in graph.nodes}
    groups: dict[tuple[str, int], set[Place]] = defaultdict(set)
    for space, size in spaces.sizes.items():
        for unit in range(size):
            groups[space, unit] |= {(names[producer], "out", unit) for producer in spaces.producers[space]}
            for link in spaces.readers[space]:
                first = link.start + unit * link.block
                groups[space, unit] |= {(names[link.reader], "in", first + at) for at in range(link.block)}
    for node in graph.nodes:
        if isinstance(node.op, BatchNorm | DepthwiseConv):
            start = 0
            for seg in spaces.layouts[node.name]:
                for unit in range(spaces.sizes[seg.space]):
                    groups[seg.space, unit].add((names[node.name], "tied", start + unit))
                start += spaces.sizes[seg.space]
    return {
        (names[producer], "out", unit): groups[space, unit]
        for space, producers in spaces.producers.items()
        for producer in producers
        for unit in range(spaces.sizes[space])
        if producer != graph.input.name
    }


def theirs(module: nn.Module, x: Tensor) -> dict[Place, set[Place]]:
    """The same from Torch-Pruning, for the first, the middle and the last unit of each layer."""
    dependencies = tp.DependencyGraph().build_dependency(module, example_inputs=x)
    names = {held: name for name, held in module.named_modules()}
    found = {}
    for root, name in names.items():
        if not isinstance(root, nn.Conv2d | nn.Linear) or tied(root):
            continue
        prune = tp.prune_conv_out_channels if isinstance(root, nn.Conv2d) else tp.prune_linear_out_channels
        units = root.weight.shape[0]
        for unit in {0, units // 2, units - 1}:
            group = set()
            for dependency, channels in dependencies.get_pruning_group(root, prune, idxs=[unit]):
                target = dependency.target.module
                if isinstance(target, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                    out = dependencies.is_out_channel_pruning_fn(dependency.handler)
                    side = "tied" if tied(target) else "out" if out else "in"
                    group |= {(names[target], side, int(channel)) for channel in channels}
            found[name, "out", unit] = group
    return found


def tied(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) or (isinstance(module, nn.Conv2d) and module.groups > 1)


def compare(module: nn.Module, graph: Graph) -> None:
    x = torch.zeros(1, *graph.shapes[graph.input.name], dtype=next(module.parameters()).dtype)
    expected, found = theirs(module, x), ours(graph)
    assert {name for name, *_ in found} == {name for name, *_ in expected}
    assert [place for place in expected if found[place] != expected[place]] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_channels_are_pruned_together(name: str) -> None:
    compare(*captured(name, 0))


def test_channels_of_several_layers_side_by_side() -> None:
    module = Branches().eval()
    compare(module, capture("t", module, (3, 2, 2)))


def test_concatenations_that_are_added_nested_and_flattened() -> None:
    """By hand: here Torch-Pruning 1.6.1 loses the offsets and names channel 5 of a layer with four."""
    found = ours(capture("t", Nested().eval(), (3, 2, 2)))
    first = {(name, "out", 0) for name in ("one", "left")} | {(name, "in", 0) for name in ("left", "right", "last")}
    first |= {("norm", "tied", 0), ("filter", "tied", 0)} | {("head", "in", at) for at in range(4)}
    assert found["one", "out", 0] == found["left", "out", 0] == first
    fifth = {(name, "out", 0) for name in ("two", "right")} | {(name, "in", 4) for name in ("left", "right")}
    fifth |= {("norm", "tied", 4), ("filter", "tied", 4)} | {("head", "in", 16 + at) for at in range(4)}
    assert found["two", "out", 0] == found["right", "out", 0] == fifth
    assert found["last", "out", 1] == {("last", "out", 1)} | {("head", "in", 40 + at) for at in range(4)}
