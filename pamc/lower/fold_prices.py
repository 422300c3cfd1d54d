"""What every choice of folds costs one task set: seconds and bytes of weights, node by node.

The price of a node depends on the choices for the few spaces that it touches, so all prices come from small tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pamc.graph import MultitaskGraph, Node
from pamc.graph.cost import cost
from pamc.graph.ops import Concat, Conv, Input, Linear
from pamc.graph.owners import groups
from pamc.graph.select import Fold, fold_groups, reads
from pamc.lower.cost_model import Costs, amounts, free_nodes, in_place_adds, is_cold

__all__ = ["BYTES", "Choice", "FoldPrices", "State"]

BYTES = 4
TASKS_FOR_ALL_CHOICES = 4

Choice = int
State = Mapping[str, Choice]
Weights = Mapping[tuple[str, Fold, tuple[Fold, ...]], int]


@dataclass(frozen=True, slots=True)
class Price:
    """Seconds of a node's operations, and the bytes of the weights that only this folding has."""

    seconds: float
    added: Weights


def _kept_tasks(tasks: int) -> list[int]:
    everyone = (1 << tasks) - 1
    if tasks <= TASKS_FOR_ALL_CHOICES:
        return sorted(range(everyone + 1), key=lambda mask: (-mask.bit_count(), mask))
    return [everyone, *(everyone & ~(1 << task) for task in range(tasks)), 0]


class FoldPrices:
    """The prices of every node of one task set under every choice for the spaces that it touches."""

    def __init__(self, net: MultitaskGraph, request: int, costs: Costs) -> None:
        self.net, self.request, self.costs = net, request, costs
        self.free = free_nodes(net.graph)
        self.in_place = in_place_adds(net.graph, costs.kernels)
        self.cold = is_cold(cost(net, request).params, costs.kernels)
        self.kept = _kept_tasks(len(net.tasks))
        self.sizes = {
            space: {mask: len(units) for mask, units in groups(owners).items() if mask & request}
            for space, owners in net.owners.items()
        }
        self._prices: dict[tuple[str, tuple[Choice, ...]], Price] = {}

    @cached_property
    def folds(self) -> Mapping[str, tuple[tuple[Fold, ...], ...]]:
        """By space the folds of every choice."""
        plain = self.net.everyone
        return {
            space: tuple(fold_groups(masks, plain if space in self.net.fixed else kept) for kept in self.kept)
            for space, masks in self.sizes.items()
        }

    @cached_property
    def choices(self) -> Mapping[str, tuple[Choice, ...]]:
        """By space the choices that differ, the one without folds first."""
        found = {}
        for space, options in self.folds.items():
            different = {frozenset(folds): choice for choice, folds in reversed([*enumerate(options)])}
            found[space] = tuple(sorted(different.values()))
        return found

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(
            node
            for node in self.net.graph.nodes
            if self.net.serves[node.name] & self.request and not isinstance(node.op, Input | Concat)
        )

    @cached_property
    def touched(self) -> Mapping[str, tuple[str, ...]]:
        """The spaces that a node's price depends on."""
        layouts = self.net.spaces.layouts
        spaces = {}
        for node in self.nodes:
            read = node.inputs[0] if isinstance(node.op, Conv | Linear) else node.name
            spaces[node.name] = tuple(dict.fromkeys(seg.space for name in (node.name, read) for seg in layouts[name]))
        return spaces

    @cached_property
    def touching(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes whose price depends on a space."""
        return {space: tuple(node for node in self.nodes if space in self.touched[node.name]) for space in self.folds}

    @cached_property
    def first_reader(self) -> Mapping[str, str]:
        """The layer that pays for the concatenations of a value; others that read it share them."""
        first: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node.op, Conv | Linear):
                first.setdefault(node.inputs[0], node.name)
        return first

    def _channels(self, space: str, fold: Fold) -> int:
        return sum(self.sizes[space][mask] for mask in fold)

    def _served(self, node: Node, fold: Fold) -> Fold:
        return tuple(mask for mask in fold if mask & self.net.serves[node.name])

    def _layer(self, node: Node, state: State) -> Price:
        graph, layouts = self.net.graph, self.net.spaces.layouts
        shape, source = graph.shapes[node.name], graph.shapes[node.inputs[0]]
        (own,) = layouts[node.name]
        taps = math.prod(node.op.kernel) if isinstance(node.op, Conv) else 1
        total, joined = 0.0, set[tuple[Fold, ...]]()
        added: dict[tuple[str, Fold, tuple[Fold, ...]], int] = {}
        for fold in self.folds[own.space][state[own.space]]:
            if not (served := self._served(node, fold)):
                continue
            pieces = [
                (other, self._channels(seg.space, other) * seg.block)
                for seg in layouts[node.inputs[0]]
                for other in self.folds[seg.space][state[seg.space]]
                if reads(served, other)
            ]
            labels = tuple(other for other, _ in pieces)
            units, read = self._channels(own.space, fold), sum(size for _, size in pieces)
            given, made = (read, *source[1:]), (units, *shape[1:])
            total += self.costs.of(amounts(node.op, [given], made, self.costs.kernels, cold=self.cold))
            if len(pieces) > 1 and labels not in joined and self.first_reader[node.inputs[0]] == node.name:
                joined.add(labels)
                total += self.costs.of(amounts(Concat(), [], given, self.costs.kernels))
            if len(fold) > 1 or any(len(other) > 1 for other in labels):
                added[node.name, fold, labels] = BYTES * units * (read * taps + (len(fold) > 1))
        return Price(total, added)

    def _plain(self, node: Node, state: State) -> Price:
        graph = self.net.graph
        shape = graph.shapes[node.name]
        total = 0.0
        added: dict[tuple[str, Fold, tuple[Fold, ...]], int] = {}
        for seg in self.net.spaces.layouts[node.name]:
            for fold in self.folds[seg.space][state[seg.space]]:
                if not self._served(node, fold):
                    continue
                units = self._channels(seg.space, fold) * seg.block
                if node.name not in self.free:
                    read = [(units, *graph.shapes[name][1:]) for name in node.inputs]
                    in_place = node.name in self.in_place
                    taken = amounts(node.op, read, (units, *shape[1:]), self.costs.kernels, in_place=in_place)
                    total += self.costs.of(taken)
                if node.params and len(fold) > 1:
                    per_unit = sum(graph.params[key].size for key in node.params.values()) // shape[0]
                    added[node.name, fold, ()] = BYTES * units * per_unit
        return Price(total, added)

    def price(self, node: Node, state: State) -> Price:
        """Seconds and extra weights of a node's operations."""
        key = (node.name, tuple(state[space] for space in self.touched[node.name]))
        if key not in self._prices:
            layer = isinstance(node.op, Conv | Linear)
            self._prices[key] = self._layer(node, state) if layer else self._plain(node, state)
        return self._prices[key]

    def seconds(self, state: State) -> float:
        """Estimated time of one inference."""
        return sum(self.price(node, state).seconds for node in self.nodes)

    def added(self, state: State) -> dict[tuple[str, Fold, tuple[Fold, ...]], int]:
        """The weights, in bytes, that folding adds."""
        return {key: size for node in self.nodes for key, size in self.price(node, state).added.items()}

    def uniform(self, choice: Choice) -> dict[str, Choice]:
        """The same tasks told apart in every space."""
        chosen = {}
        for space, options in self.folds.items():
            same = frozenset(options[choice])
            chosen[space] = next(other for other in self.choices[space] if frozenset(options[other]) == same)
        return chosen
