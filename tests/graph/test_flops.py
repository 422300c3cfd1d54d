"""FLOPs and parameters against the figures of the PAM paper and of its published layer widths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pamc.graph import Cost, Graph, MultitaskGraph, Node, compact, cost, costs, verify_multitask
from pamc.graph.ops import Activation, Conv, Flatten, Input, Linear, MaxPool
from pamc.graph.owners import DTYPE
from tests.zoo.handmade import Maker

A, B, BOTH = 1, 2, 3
Groups = tuple[int, int, int]


@dataclass(frozen=True)
class Layers:
    """A chain of layers by the sizes of its groups (exclusive to A, exclusive to B, shared)."""

    convs: tuple[tuple[Groups, ...], ...]
    linears: tuple[Groups, ...]
    outputs: tuple[int, ...]
    kernel: int
    input: tuple[int, int, int]

    def net(self) -> MultitaskGraph:
        """The network with weights of zero; every stage of convolutions ends with a 2x2 max pooling.

        Without biases, since the published parameters are weights alone.
        """
        tasks = ("a", "b")[: len(self.outputs)]
        nodes = [Node("input", Input(self.input))]
        params: dict[str, np.ndarray] = {}
        owners = {"input": np.full(self.input[0], (1 << len(tasks)) - 1)}

        def weighted(name: str, op: Conv | Linear, source: str, vector: list[int], read: int) -> None:
            taps = op.kernel if isinstance(op, Conv) else ()
            params[f"{name}.weight"] = np.zeros((len(vector), read, *taps), np.float32)
            nodes.append(Node(name, op, (source,), {"weight": f"{name}.weight"}))
            owners[name] = np.array(vector)

        def units(groups: Groups) -> list[int]:
            return [mask for mask, count in zip((A, B, BOTH), groups, strict=True) for _ in range(count)]

        value, read = "input", self.input[0]
        for stage, layers in enumerate(self.convs):
            for at, groups in enumerate(layers):
                name = f"c{stage}_{at}"
                same = Conv((self.kernel,) * 2, padding=(self.kernel // 2,) * 2)
                weighted(name, same, value, units(groups), read)
                nodes.append(Node(f"{name}.relu", Activation("relu"), (name,)))
                value, read = f"{name}.relu", sum(groups)
            nodes.append(Node(f"pool{stage}", MaxPool((2, 2), (2, 2)), (value,)))
            value = f"pool{stage}"
        nodes.append(Node("flatten", Flatten(), (value,)))
        value = "flatten"
        read *= (self.input[1] >> len(self.convs)) * (self.input[2] >> len(self.convs))
        for at, groups in enumerate(self.linears):
            weighted(f"f{at}", Linear(), value, units(groups), read)
            nodes.append(Node(f"f{at}.relu", Activation("relu"), (f"f{at}",)))
            value, read = f"f{at}.relu", sum(groups)
        for task, (name, count) in enumerate(zip(tasks, self.outputs, strict=True)):
            weighted(f"head_{name}", Linear(), value, [1 << task] * count, read)
        for array in params.values():
            array.setflags(write=False)
        graph = Graph(tuple(nodes), {name: f"head_{name}" for name in tasks}, params)
        held = {name: vector.astype(DTYPE) for name, vector in owners.items()}
        return verify_multitask(MultitaskGraph(tasks, graph, held), "the test")


def alone(*widths: int) -> tuple[Groups, ...]:
    return tuple((width, 0, 0) for width in widths)


LENET = Layers(
    convs=(((1, 1, 2),), ((2, 2, 3),)), linears=((6, 6, 10), (4, 3, 9)), outputs=(5, 5), kernel=5, input=(1, 124, 496)
)
VGG = Layers(
    convs=(
        ((0, 0, 26), (0, 0, 26)),
        ((0, 0, 27), (0, 0, 38)),
        ((0, 0, 40), (0, 0, 44), (0, 0, 43)),
        ((0, 0, 60), (2, 2, 52), (5, 5, 59)),
        ((9, 9, 40), (4, 4, 40), (7, 9, 48)),
    ),
    linears=((27, 16, 58), (7, 5, 82)),
    outputs=(20, 20),
    kernel=3,
    input=(3, 72, 72),
)
DENSE_VGG = (alone(64, 64), alone(128, 128), alone(256, 256, 256), alone(512, 512, 512), alone(512, 512, 512))


@pytest.mark.parametrize(
    ("layers", "flops", "params"),
    [
        pytest.param(LENET, (18.651, 18.651, 26.478), (231_234, 231_213, 346_837), id="lenet5"),
        pytest.param(VGG, (155.824, 155.845, 156.740), (238_155, 236_390, 257_935), id="vgg16"),
    ],
)
def test_networks_that_pam_ended_with(layers: Layers, flops: tuple[float, ...], params: tuple[int, ...]) -> None:
    net = layers.net()
    found = costs(net)
    assert [round(found[request].flops / 1e6, 3) for request in (A, B, BOTH)] == list(flops)
    assert [found[request].params for request in (A, B, BOTH)] == list(params)
    # No unit is there for nobody.
    assert costs(compact(net)) == found


@pytest.mark.parametrize(
    ("layers", "flops", "params"),
    [
        pytest.param(Layers((alone(6), alone(16)), alone(120, 84), (5,), 5, (1, 124, 496)), 106.42, 7.39, id="lenet5"),
        pytest.param(Layers(DENSE_VGG, alone(512, 512), (20,), 3, (3, 72, 72)), 3112.20, 16.03, id="vgg16-512"),
        pytest.param(Layers(DENSE_VGG, alone(128, 128), (15,), 3, (3, 72, 72)), 3110.12, 14.99, id="vgg16-128"),
    ],
)
def test_networks_before_pruning(layers: Layers, flops: float, params: float) -> None:
    found = costs(layers.net())[1]
    assert round(found.flops / 1e6, 2) == flops
    assert round(found.params / 1e6, 2) == params


def test_every_value_takes_one_addition_less_than_multiplications() -> None:
    make = Maker((3, 4, 4))
    graph = make.end("t", make.norm("norm", make.depthwise("filter", make.conv("conv", "input", 5))), classes=2)
    net = MultitaskGraph(("t",), graph, {space: np.full(size, 1) for space, size in graph.spaces.sizes.items()})
    # Poolings, norms and biases count nothing.
    conv, filters, head = (2 * 9 * 3 - 1) * 16 * 5, (2 * 9 - 1) * 16 * 5, (2 * 5 - 1) * 2
    assert cost(net, 1).flops == conv + filters + head
    assert cost(net, 1) == Cost(
        macs=(27 + 9) * 16 * 5 + 5 * 2, params=(27 + 1) * 5 + (9 + 1) * 5 + 4 * 5 + 5 * 2 + 2, outputs=2 * 16 * 5 + 2
    )
