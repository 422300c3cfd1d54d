"""What campaigns have found, each as small as it gets."""

import numpy as np
import pytest
import torch

from pamc.errors import InternalError, VerificationError
from pamc.export import find_exporter
from pamc.graph import Graph, MultitaskGraph, compact, verify_multitask
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Activation, Concat, Flatten, GlobalAvgPool, Input, Linear, Softmax, Unflatten
from pamc.lower import Numerics, calibrate
from pamc.progress import QuietProgress
from pamc.verify import errors, neighbours, verify_exports
from tests.campaign.cases import Case, plans_of
from tests.campaign.choices import replay
from tests.campaign.comparing import compare
from tests.campaign.drawing import Drawer

FLOAT32 = Numerics()


def network(net: Drawer, outputs: dict[str, str], owners: dict[str, list[int]]) -> MultitaskGraph:
    graph = Graph(tuple(net.nodes), outputs, net.params)
    everyone = (1 << len(outputs)) - 1
    held = {space: owners.get(space, [everyone] * units) for space, units in graph.spaces.sizes.items()}
    arrays = {space: np.array(vector, dtype=np.uint32) for space, vector in held.items()}
    return verify_multitask(MultitaskGraph(tuple(outputs), graph, arrays).with_params({}), "a test")


def agree(net: MultitaskGraph) -> None:
    x = np.random.default_rng(0).standard_normal((3, *net.graph.shapes[net.graph.input.name]))
    wanted = evaluate(net.graph, x, dtype=torch.float64)
    for plan in plans_of(net, "arm64", FLOAT32).values():
        for task, found in evaluate(plan.graph, x, dtype=torch.float64).items():
            np.testing.assert_allclose(found.numpy(), wanted[task].numpy(), rtol=1e-12)


def test_softmax_over_a_concatenation_is_one_softmax():
    net = Drawer(replay([]))
    x = net.add(Input((2,)))
    joined = net.add(Concat(), net.linear(x, 1), net.linear(x, 2))
    agree(network(net, {"age": net.add(Softmax(), joined)}, {}))


def test_reading_a_part_of_such_a_softmax_is_refused():
    net = Drawer(replay([]))
    x = net.add(Input((2,)))
    soft = net.add(Softmax(), net.add(Concat(), net.linear(x, 1), net.linear(x, 2)))
    whole = network(net, {"age": net.add(Activation("relu"), soft)}, {})
    with pytest.raises(InternalError, match=r"a part of softmax .* cannot be lowered"):
        plans_of(whole, "arm64", FLOAT32)


def test_a_layer_whose_units_are_all_dead_goes():
    net = Drawer(replay([]))
    x = net.add(Input((1, 3, 3)))
    dead, alive = net.conv(x, 2), net.conv(x, 3)
    joined = net.add(Concat(), net.act(dead), alive)
    reader = net.conv(joined, 2)
    whole = network(net, {"age": reader}, {dead: [0, 0]})
    small = verify_multitask(compact(whole), "compacting")
    assert dead not in small.graph.by_name
    assert small.graph.by_name[joined].inputs == (alive,)
    agree(small)
    agree(whole)


def test_a_tensor_that_is_read_after_its_reshaped_form_changed_keeps_its_numbers():
    net = Drawer(replay([]))
    hidden = net.affine(net.linear(net.add(Input((4,))), 8))
    other = net.linear(net.add(Flatten(), net.affine(net.add(Unflatten(), hidden))), 1)
    late = net.linear(hidden, 1)
    whole = network(net, {"age": other, "smile": late}, {other: [1], late: [2]})
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    reference = {task: value.numpy() for task, value in evaluate(whole.graph, x, dtype=torch.float64).items()}
    # tflite-runtime 2.14 answered with the numbers of the reshaped form.
    assert compare(Case(whole, "float32", plans_of(whole, "arm64", FLOAT32), x, reference)).failures == []


def test_a_mean_that_is_almost_nothing_beside_its_values_runs_in_int8(tmp_path):
    net = Drawer(replay([]))
    x = net.add(Input((2, 2, 2)))
    mean = net.add(GlobalAvgPool(), net.act(net.conv(x, 2)))
    whole = network(net, {"age": net.linear(net.add(Flatten(), mean), 2)}, {})
    ranges = {node.name: (-2.0, 2.0) for node in whole.graph.nodes}
    tiny = {name: (-1e-6, 1e-6) for name in whole.graph.by_name if name.startswith(("global", "flatten"))}
    plans = plans_of(whole, "x86_64", Numerics("int8", {**ranges, **tiny}))
    exporter = find_exporter("onnx")
    exporter.write(plans, tmp_path, {})
    # ONNX Runtime said "QLinearGlobalAveragePool parameter out of computation range".
    found = exporter.open(tmp_path, "age").run(np.ones((1, 2, 2, 2), np.float32))["age"]
    assert np.isfinite(found).all()


def test_a_mean_that_is_always_nothing_is_not_off_by_one():
    net = Drawer(replay([]))
    mean = net.add(GlobalAvgPool(), net.add(Input((1, 1, 3))))
    whole = network(net, {"age": net.linear(net.add(Flatten(), mean), 2)}, {})
    x = np.multiply.outer(np.float32([0.25, 0.5, 1, 3]), np.float32([2, -1, -1])).reshape(4, 1, 1, 3)
    plans = plans_of(whole, "arm64", calibrate(whole, x, QuietProgress()))
    reference = {task: value.numpy() for task, value in evaluate(whole.graph, x, dtype=torch.float64).items()}
    # tflite-runtime 2.14 answered with a mean of 1: the step of a range in which there is only 0.
    assert compare(Case(whole, "int8", plans, x, reference)).failures == []


def differing(net: Drawer) -> str:
    """The difference of two numbers near 300, which float32 knows to 3e-5."""
    x = net.add(Input((4,)))
    weight, bias = np.array([[1, 0.5, -1, 2], [1.0001, 0.5, -1, 2]]), np.full(2, 300.0)
    pair = net.add(Linear(), x, weight=weight, bias=bias)
    return net.add(Linear(), pair, weight=np.array([[1.0, -1.0]]), bias=np.zeros(1))


def next_to_nothing(net: Drawer) -> str:
    """The GELU of -5, which cancels to some 1e-6."""
    x = net.add(Input((4,)))
    low = net.add(Linear(), x, weight=np.full((1, 4), 0.01), bias=np.full(1, -5.0))
    return net.add(Linear(), net.add(Activation("gelu"), low), weight=np.full((2, 1), 3.0), bias=np.zeros(2))


@pytest.mark.parametrize("draw", [differing, next_to_nothing])
def test_what_float32_cannot_know_is_no_failure(draw, tmp_path):
    net = Drawer(replay([]))
    whole = network(net, {"age": draw(net)}, {})
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    plans = plans_of(whole, "arm64", FLOAT32)
    reference = {task: value.numpy() for task, value in evaluate(whole.graph, x, dtype=torch.float64).items()}
    # Every runtime was further off than 1e-4 of the largest output, PyTorch too.
    assert errors(evaluate(whole.graph, x)["age"].numpy(), reference["age"])[1] > 1e-4
    assert compare(Case(whole, "float32", plans, x, reference)).failures == []
    exporter = find_exporter("onnx")
    exporter.write(plans, tmp_path, {})
    with pytest.raises(VerificationError, match=r"output age: .*, allowed 0.0001"):
        verify_exports(exporter, tmp_path, plans, x, reference)
    assert verify_exports(exporter, tmp_path, plans, x, reference, near=lambda: neighbours(whole, FLOAT32, x))
