"""The verifier bites: each rule is broken once."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from pamc.errors import InternalError
from pamc.graph import Graph, MultitaskGraph, Node, verify, verify_multitask
from pamc.graph.ir import frozen_array
from pamc.graph.ops import Activation, Add, Conv, Input, Op, ShapeError
from tests.zoo.captured import aligned, captured


@dataclass(frozen=True)
class Stranger(Op):
    kind = "stranger"


def graph() -> Graph:
    return captured("lenet", 0)[1]


def node(name_of_node: str, /, **changes: object) -> Callable[[Graph], Graph]:
    def change(base: Graph) -> Graph:
        return replace(
            base,
            nodes=tuple(replace(item, **changes) if item.name == name_of_node else item for item in base.nodes),  # type: ignore[arg-type]
        )

    return change


def param(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Graph], Graph]:
    return lambda base: replace(base, params={**base.params, name: frozen_array(change(base.params[name]))})


def writeable(base: Graph) -> Graph:
    return replace(base, params={**base.params, "fc1.bias": np.array(base.params["fc1.bias"])})


def spoiled(array: np.ndarray) -> np.ndarray:
    result = np.array(array)
    result.flat[0] = np.nan
    return result


GRAPH_FAULTS: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "operation outside the set": (node("relu", op=Stranger()), "not in the set"),
    "two nodes of one name": (node("relu_2", name="relu"), "two nodes share this name"),
    "reads what comes later": (node("relu", inputs=("head",)), "before they exist"),
    "wrong number of inputs": (node("relu", op=Add()), "takes 2 inputs, has 1"),
    "missing parameter": (node("fc1", params={"bias": "fc1.bias"}), "do not fit linear"),
    "superfluous parameter": (node("relu", params={"weight": "fc1.weight"}), "do not fit activation"),
    "unknown parameter": (node("fc1", params={"weight": "gone"}), "do not exist"),
    "output that is no value": (lambda base: replace(base, outputs={"a": "gone"}), "value 'gone' does not exist"),
    "two inputs": (
        lambda base: replace(base, nodes=(*base.nodes, Node("second", Input((1, 28, 28))))),
        "exactly one input",
    ),
    "idle parameter": (
        lambda base: replace(base, params={**base.params, "idle": frozen_array(np.zeros(1))}),
        "nobody uses: ['idle']",
    ),
    "wrong rank": (param("fc1.weight", lambda array: array[:, :, None]), "3 axes, linear wants 2"),
    "wrong input width": (param("fc1.weight", lambda array: array[:, :-1]), "axis 1 is 299, should be 300"),
    "wrong unit count": (param("fc1.bias", lambda array: array[:-1]), "axis 0 is 47, should be 48"),
    "not finite": (param("fc1.bias", spoiled), "NaN or infinity"),
    "writeable": (writeable, "is writeable"),
    "impossible shape": (node("fc1", inputs=("max_pool_2",)), "linear needs a (F,) input"),
    "window too large": (node("conv2", op=Conv((50, 50))), "does not fit an input of size 14"),
}


@pytest.mark.parametrize("fault", GRAPH_FAULTS)
def test_graph_rules(fault: str) -> None:
    plant, words = GRAPH_FAULTS[fault]
    with pytest.raises(InternalError, match="invalid after planting") as caught:
        verify(plant(graph()), "planting")
    assert words in str(caught.value)


def owners(space: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[MultitaskGraph], MultitaskGraph]:
    return lambda net: replace(net, owners={**net.owners, space: change(np.array(net.owners[space]))})


def link(net: MultitaskGraph) -> MultitaskGraph:
    weight = np.array(net.graph.params["conv2.weight"])
    weight[0, 6, 0, 0] = 1e-30
    return replace(net, graph=net.graph.with_params({"conv2.weight": weight}))


def starving(net: MultitaskGraph) -> MultitaskGraph:
    return net.with_owners({"conv1": np.full(12, 2, dtype=np.uint32)})


OWNER_FAULTS: dict[str, tuple[Callable[[MultitaskGraph], MultitaskGraph], str]] = {
    "space without owners": (
        lambda net: replace(net, owners={key: value for key, value in net.owners.items() if key != "fc1"}),
        "owners for",
    ),
    "owners of no space": (lambda net: replace(net, owners={**net.owners, "gone": np.zeros(1)}), "owners for"),
    "outputs that are not the tasks": (
        lambda net: replace(net, graph=replace(net.graph, outputs={"a": "a.head", "x": "b.head"})),
        "are not the tasks",
    ),
    "wrong number of units": (owners("fc1", lambda vector: vector[:-1]), "owners for 96 units"),
    "unknown task": (owners("fc1", lambda vector: vector | 4), "tasks that do not exist"),
    "output shared": (owners("a.head", lambda vector: vector | 3), "owned by a alone"),
    "output given away": (owners("b.head", lambda vector: vector * 0 + 1), "owned by b alone"),
    "input not for everyone": (owners("input", lambda vector: vector * 0 + 1), "owned by every task"),
    "forbidden link": (link, "unit 0 reads channel 6 against the read rule"),
    "nothing to read": (starving, "unit 0 of group a has nothing to read"),
    "link to a unit that lost its owner": (owners("conv1", lambda vector: vector * 0 + 2), "against the read rule"),
}


@pytest.mark.parametrize("fault", OWNER_FAULTS)
def test_owner_rules(fault: str) -> None:
    plant, words = OWNER_FAULTS[fault]
    with pytest.raises(InternalError, match="invalid after planting") as caught:
        verify_multitask(plant(aligned("lenet", 2)), "planting")
    assert words in str(caught.value)


def test_valid_graphs_pass() -> None:
    assert verify(graph(), "nothing") is graph()
    assert verify_multitask(aligned("lenet", 2), "nothing") is aligned("lenet", 2)


def test_parameters_cannot_change_under_a_graph() -> None:
    source = np.zeros(3, dtype=np.float32)
    held = frozen_array(source)
    source[0] = 1
    assert held[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        held[0] = 1
    with pytest.raises(TypeError):
        graph().params["new"] = held  # type: ignore[index]


def test_operations_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ShapeError, match="equal channels"):
        Add().out_shape([(2, 3, 3), (3, 3, 3)], None)
    with pytest.raises(ShapeError, match="cannot broadcast"):
        Add().out_shape([(2, 3, 3), (2, 3, 1)], None)
    with pytest.raises(ValueError, match="unknown activation"):
        Activation("softsign")
