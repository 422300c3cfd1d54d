"""Faults to plant into artefacts: what bugs of lowering and export, and mixed-up files, would make of them.

Most are planted in the plans before these are written, so that every format gets the same: files as a faulty compiler
would write them. A fault of the parameters is in all task sets, as they share them; one of the graph in one task set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pamc.graph import Graph, Node
from pamc.graph.ops import Activation, BatchNorm, Concat
from pamc.lower import Plan
from tests.campaign.building import Build
from tests.campaign.cases import plans_of

__all__ = ["LOWERING_FAULTS", "PLAN_FAULTS", "Plans", "changed"]

Plans = dict[str, Plan]
Fault = Callable[[Build, np.random.Generator], Plans | None]
EPSILONS = (1e-3, 1e-5)


def changed(plans: Mapping[str, Plan], params: Mapping[str, np.ndarray]) -> Plans:
    """The plans with other parameters, in every task set that has them."""

    def one(plan: Plan) -> Plan:
        mine = {key: array for key, array in params.items() if key in plan.graph.params}
        return replace(plan, graph=plan.graph.with_params(mine))

    return {name: one(plan) for name, plan in plans.items()}


def _params(build: Build, role: str = "", axis: int = 0, least: int = 1) -> dict[str, np.ndarray]:
    """Parameters of a role that are at least so long along an axis, over all task sets."""
    return {
        key: array
        for plan in build.plans.values()
        for key, array in plan.graph.params.items()
        if key.endswith(role) and array.ndim > axis and array.shape[axis] >= least
    }


def _draw(numbers: np.random.Generator, options: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray] | None:
    if not options:
        return None
    key = sorted(options)[int(numbers.integers(len(options)))]
    return key, options[key].copy()


def _swap(axis: int) -> Fault:
    def fault(build: Build, numbers: np.random.Generator) -> Plans | None:
        drawn = _draw(numbers, _params(build, ".weight", axis, 2))
        if drawn is None:
            return None
        key, array = drawn
        order = np.arange(array.shape[axis])
        one, other = numbers.choice(len(order), 2, replace=False)
        order[[one, other]] = order[[other, one]]
        return changed(build.plans, {key: array.take(order, axis)})

    return fault


def _permute(build: Build, numbers: np.random.Generator) -> Plans | None:
    drawn = _draw(numbers, _params(build, ".weight", 0, 2))
    if drawn is None:
        return None
    key, array = drawn
    return changed(build.plans, {key: numbers.permutation(array)})


def _no_bias(build: Build, numbers: np.random.Generator) -> Plans | None:
    drawn = _draw(numbers, _params(build, ".bias"))
    return drawn and changed(build.plans, {drawn[0]: np.zeros_like(drawn[1])})


def _alias(build: Build, numbers: np.random.Generator) -> Plans | None:
    weights = _params(build, ".weight")
    pairs = [
        (one, other)
        for one in sorted(weights)
        for other in sorted(weights)
        if one != other and weights[one].shape == weights[other].shape
    ]
    if not pairs:
        return None
    one, other = pairs[int(numbers.integers(len(pairs)))]
    return changed(build.plans, {one: weights[other]})


def _epsilon(build: Build, numbers: np.random.Generator) -> Plans | None:
    norms = [node for node in build.net.graph.nodes if isinstance(node.op, BatchNorm)]
    if not norms:
        return None
    chosen = norms[int(numbers.integers(len(norms)))]
    (eps,) = (eps for eps in EPSILONS if eps != chosen.op.eps)  # type: ignore[union-attr]
    nodes = tuple(replace(node, op=BatchNorm(eps)) if node is chosen else node for node in build.net.graph.nodes)
    net = replace(build.net, graph=replace(build.net.graph, nodes=nodes))
    return plans_of(net, build.target, build.numerics)


def _row(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Fault:
    def fault(build: Build, numbers: np.random.Generator) -> Plans | None:
        drawn = _draw(numbers, _params(build, ".weight"))
        if drawn is None:
            return None
        key, array = drawn
        row = int(numbers.integers(len(array)))
        array[row] = change(array[row], numbers)
        return changed(build.plans, {key: array})

    return fault


def _exponent(build: Build, numbers: np.random.Generator) -> Plans | None:
    drawn = _draw(numbers, _params(build))
    if drawn is None:
        return None
    key, array = drawn
    # Of the exponent's eight bits the highest makes most numbers infinite, which no exporter writes.
    bits = array.astype(np.float32).reshape(-1).view(np.uint32)
    bits[int(numbers.integers(len(bits)))] ^= np.uint32(1 << int(numbers.integers(23, 30)))
    return changed(build.plans, {key: bits.view(np.float32).reshape(array.shape)})


def _in_one_graph(build: Build, numbers: np.random.Generator, options: Callable[[Plan], list[Graph]]) -> Plans | None:
    """One of the changes of one of the task sets."""
    found = [(name, graph) for name, plan in build.plans.items() for graph in options(plan)]
    if not found:
        return None
    name, graph = found[int(numbers.integers(len(found)))]
    return {**build.plans, name: replace(build.plans[name], graph=graph)}


def _with_node(graph: Graph, node: Node) -> Graph:
    return replace(graph, nodes=tuple(node if other.name == node.name else other for other in graph.nodes))


def _other_outputs(build: Build, numbers: np.random.Generator) -> Plans | None:
    def options(plan: Plan) -> list[Graph]:
        tasks = list(plan.graph.outputs.items())
        return [
            replace(plan.graph, outputs={**plan.graph.outputs, one: second, other: first})
            for place, (one, first) in enumerate(tasks)
            for other, second in tasks[place + 1 :]
            if plan.graph.shapes[first] == plan.graph.shapes[second]
        ]

    return _in_one_graph(build, numbers, options)


def _other_activation(build: Build, numbers: np.random.Generator) -> Plans | None:
    functions = ("relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "gelu")

    def options(plan: Plan) -> list[Graph]:
        return [
            _with_node(plan.graph, replace(node, op=Activation(function)))
            for node in plan.graph.nodes
            if isinstance(node.op, Activation)
            for function in functions
            if function != node.op.function
        ]

    return _in_one_graph(build, numbers, options)


def _other_order(build: Build, numbers: np.random.Generator) -> Plans | None:
    def options(plan: Plan) -> list[Graph]:
        return [
            _with_node(plan.graph, replace(node, inputs=node.inputs[::-1]))
            for node in plan.graph.nodes
            if isinstance(node.op, Concat) and len(set(node.inputs)) > 1
        ]

    return _in_one_graph(build, numbers, options)


PLAN_FAULTS: Mapping[str, Fault] = {
    "two output channels swapped": _swap(0),
    "two input channels swapped": _swap(1),
    "output channels permuted": _permute,
    "a bias dropped": _no_bias,
    "two weights aliased": _alias,
    "sign of a filter": _row(lambda row, _: -row),
    "scale of a row": _row(lambda row, numbers: row * np.float32(numbers.choice([0.5, 0.9, 1.1, 2]))),
    "a bit of an exponent": _exponent,
    "outputs of two tasks swapped": _other_outputs,
    "another activation": _other_activation,
    "inputs of a concatenation in another order": _other_order,
}

# Of lowering itself: the plans are wrong too, and nothing but the network says what is right.
LOWERING_FAULTS: Mapping[str, Fault] = {"epsilon of a batch norm": _epsilon}
