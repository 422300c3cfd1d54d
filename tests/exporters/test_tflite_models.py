"""What the networks in a .tflite file compute, and by which operators."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from pamc.errors import InternalError
from pamc.graph.interpret import evaluate, run, tensors
from pamc.graph.ops import (
    ACTIVATIONS,
    OPS,
    Activation,
    Add,
    AvgPool,
    Concat,
    Conv,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Mul,
    Softmax,
    Unflatten,
)
from pamc.lower import Numerics
from pamc.verify.compare import within
from pamc_exporters.tflite import exporter
from tests.exporters.tflite_tools import agree, codes, differences, model_of, plan_of, plans_of
from tests.lower.nets import Sketch, batch, random_net, two_task_net

SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_set_agrees_with_pytorch(seed, tmp_path):
    assert agree(random_net(seed), tmp_path) < 1e-5


def test_the_random_networks_hold_every_operation():
    nodes = [node for seed in SEEDS for node in random_net(seed).graph.nodes]
    assert {node.op.kind for node in nodes} == set(OPS)
    assert {node.op.function for node in nodes if isinstance(node.op, Activation)} == ACTIVATIONS


@pytest.mark.parametrize("seed", [0, 3, 8, 14, 26])
def test_half_weights_agree_with_pytorch_to_float32(seed, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, Numerics("float16"))
    exporter.write(plans, tmp_path, {})
    x = batch(net, 3)
    for task_set, plan in plans.items():
        for task, found in exporter.open(tmp_path, task_set).run(x).items():
            assert within(found, evaluate(plan.graph, x)[task].numpy(), 1e-5)
    stored = {tensor.type for subgraph in model_of(tmp_path).subgraphs for tensor in subgraph.tensors if tensor.data}
    assert "FLOAT16" in stored


@pytest.mark.parametrize("height, width", [(6, 7), (7, 8)])
def test_pools_cover_the_same_places(height, width, tmp_path):
    sketch = Sketch((2, height, width))
    kernels, strides, pads = [(3, 3), (2, 3), (1, 4)], [(1, 1), (2, 1), (2, 3)], [(0, 0), (1, 1), (0, 1), (1, 0)]
    outputs = {}
    for kernel, stride, padding in itertools.product(kernels, strides, pads):
        if all(2 * pad <= size for pad, size in zip(padding, kernel, strict=True)):
            ops = [MaxPool(kernel, stride, padding, ceil) for ceil in (False, True)]
            ops += [AvgPool(kernel, stride, padding, included) for included in (False, True)]
            outputs |= {f"{op}".replace("+", "-"): sketch.plain("pool", op, "x") for op in ops}
    found = differences(plan_of(sketch, outputs), tmp_path)
    assert {name for name, error in found.items() if not error < 1e-5} == set()
    assert len(found) > 80


def test_a_window_that_would_start_in_the_padding_is_dropped(tmp_path):
    sketch = Sketch((2, 5, 5))
    pool = sketch.plain("pool", MaxPool((2, 2), (3, 3), (1, 1), True), "x")
    assert sketch.shape(pool) == (2, 2, 2)
    assert differences(plan_of(sketch, {"a": pool}), tmp_path)["a"] < 1e-6


@pytest.mark.parametrize(
    "op, code",
    [
        (Activation("tanh"), "PADV2"),
        (Activation("relu"), "PAD"),
        (Softmax(log=True), "PADV2"),
        (Softmax(), "PAD"),
    ],
)
def test_padding_never_wins_a_maximum(op, code, tmp_path):
    sketch = Sketch((2, 6, 6))
    pool = sketch.plain("pool", MaxPool((3, 3), (2, 2), (1, 1)), sketch.plain("op", op, "x"))
    plan = plan_of(sketch, {"a": pool})
    exporter.write({"a": plan}, tmp_path, {})
    x = -np.ones((1, 2, 6, 6), np.float32)
    found = exporter.open(tmp_path, "a").run(x)["a"]
    assert within(found, evaluate(plan.graph, x)["a"].numpy(), 1e-6)
    assert codes(tmp_path, "a")[code] == 1


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("height, width", [(8, 9), (9, 8)])
def test_convolutions_cover_the_same_places(deep, height, width, tmp_path):
    sketch = Sketch((3, height, width))
    kernels, strides = [(3, 3), (2, 3), (1, 1)], [(1, 1), (2, 2), (2, 1), (1, 3)]
    pads, dilations = [(0, 0), (1, 1), (2, 1), (0, 2)], [(1, 1), (2, 1)]
    outputs = {}
    for kernel, stride, padding, dilation in itertools.product(kernels, strides, pads, dilations):
        op = (DepthwiseConv if deep else Conv)(kernel, stride, padding, dilation)
        weight = sketch.normal(*((3, 1) if deep else (4, 3)), *kernel)
        outputs[f"{op}"] = sketch.node("conv", op, ["x"], weight=weight, bias=sketch.normal(len(weight)))
    found = differences(plan_of(sketch, outputs), tmp_path)
    assert {name for name, error in found.items() if not error < 1e-5} == set()
    assert len(found) == 96


def test_padding_that_tflite_knows_takes_no_operator(tmp_path):
    agree(two_task_net(), tmp_path)
    assert codes(tmp_path, "age+smile") == Counter(
        RESHAPE=codes(tmp_path, "age+smile")["RESHAPE"],
        CONV_2D=6,
        MAX_POOL_2D=6,
        CONCATENATION=codes(tmp_path, "age+smile")["CONCATENATION"],
        FULLY_CONNECTED=5,
    )


@pytest.mark.parametrize("shape, moves", [((3, 8, 9), 1), ((1, 8, 9), 0), ((5, 1, 1), 0), ((7,), 0)])
def test_only_the_input_is_transposed(shape, moves, tmp_path):
    sketch = Sketch(shape, seed=1)
    value = "x"
    if len(shape) == 3:
        sketch.act(sketch.conv("x", 6, kernel=1))
        value = sketch.plain("flat", Flatten(), sketch.plain("pool", MaxPool((1, 1), (2, 2)), sketch.last))
    hidden = sketch.act(sketch.linear(value, 4))
    net = sketch.finish(
        {"a": sketch.linear(hidden, 3), "b": sketch.linear(hidden, 2)},
        {"conv0": [1, 2, 3, 3, 2, 1], "fc0": [1, 2, 3, 3]},
    )
    assert agree(net, tmp_path) < 1e-5
    for task_set in ("a", "b", "a+b"):
        found = codes(tmp_path, task_set)
        assert (found["TRANSPOSE"], found["GATHER"]) == (moves, 0)


def test_a_flattened_map_is_read_where_it_lies(tmp_path):
    sketch = Sketch((2, 4, 5), seed=1)
    maps = [sketch.act(sketch.conv("x", units)) for units in (3, 4)]
    joined = sketch.plain("cat", Concat(), *(sketch.plain("flat", Flatten(), value) for value in maps))
    plan = plan_of(sketch, {"a": sketch.linear(sketch.act(sketch.affine(joined), "relu6"), 3)})
    assert differences(plan, tmp_path)["a"] < 1e-5
    assert codes(tmp_path, "a") == Counter(
        {"TRANSPOSE": 1, "CONV_2D": 2, "CONCATENATION": 1, "MUL": 1, "ADD": 1, "FULLY_CONNECTED": 1}
    )


def test_flattened_maps_of_different_sizes_are_joined_as_vectors(tmp_path):
    sketch = Sketch((2, 4, 6), seed=1)
    maps = [sketch.plain("pool", MaxPool((1, 1), stride), "x") for stride in ((1, 1), (2, 2), (4, 6))]
    flats = [sketch.plain("flat", Flatten(), value) for value in maps]
    joined = sketch.plain("cat", Concat(), *flats, sketch.linear(flats[0], 5))
    outputs = {"a": sketch.linear(joined, 3), "raw": joined}
    assert max(differences(plan_of(sketch, outputs), tmp_path).values()) < 1e-5


def test_maps_and_vectors_come_out_in_their_own_order(tmp_path):
    sketch = Sketch((2, 4, 6), seed=1)
    value = sketch.act(sketch.conv("x", 3), "tanh")
    flat = sketch.plain("flat", Flatten(), value)
    other = sketch.plain("flat", Flatten(), sketch.conv("x", 6, stride=(2, 1)))
    outputs = {
        "map": value,
        "flat": flat,
        "sum": sketch.plain("sum", Add(), flat, other),
        "product": sketch.plain("product", Mul(), flat, sketch.linear(flat, 72)),
        "soft": sketch.plain("soft", Softmax(), flat),
        "log": sketch.plain("log", Softmax(log=True), flat),
        "logs": sketch.plain("log", Softmax(log=True), sketch.conv(value, 3)),
        "slopes": sketch.prelu(flat),
        "slopes of a map": sketch.prelu(value),
        "slopes of features": sketch.prelu(sketch.linear(flat, 5)),
        "unflat": sketch.plain("unflat", Unflatten(), flat),
        "places": sketch.plain("soft", Softmax(), sketch.conv(value, 3)),
        "one": sketch.conv(value, 1),
        "again": value,
        "given": "x",
    }
    found = differences(plan_of(sketch, outputs), tmp_path)
    assert {name for name, error in found.items() if not error < 1e-5} == set()


def test_a_vector_scales_a_map(tmp_path):
    sketch = Sketch((3, 5, 6), seed=2)
    value = sketch.act(sketch.conv("x", 4), "silu")
    pooled = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), value))
    gate = sketch.plain("unflat", Unflatten(), sketch.act(sketch.linear(pooled, 4), "hardsigmoid"))
    for left, right in ((value, gate), (gate, value)):
        value = sketch.plain("mul", Mul(), left, right)
    net = sketch.finish({"a": sketch.linear(sketch.plain("flat", Flatten(), value), 3)}, {})
    assert agree(net, tmp_path) < 1e-5


def test_activation_functions(tmp_path):
    sketch = Sketch((1, 40, 50))
    outputs = {
        f"{function} {alpha}": sketch.plain("act", Activation(function, alpha), "x")
        for function, alpha in itertools.product(sorted(ACTIVATIONS), (0.1, 1.0, 1.7))
    }
    plan = plan_of(sketch, outputs)
    exporter.write({plan.task_set: plan}, tmp_path, {})
    x = np.linspace(-9, 9, 2000, dtype=np.float32).reshape(1, 1, 40, 50)
    found = exporter.open(tmp_path, plan.task_set).run(x)
    for name, wanted in evaluate(plan.graph, x).items():
        np.testing.assert_allclose(found[name], wanted.numpy(), rtol=2e-5, atol=2e-6, err_msg=name)


def test_a_rectifier_is_part_of_the_operator_before_it_unless_others_read_that(tmp_path):
    sketch = Sketch((1, 6, 6), seed=2)
    inner = sketch.conv("x", 3)
    total = sketch.act(sketch.plain("add", Add(), sketch.act(inner), inner), "relu6")
    alone = sketch.act(sketch.conv(total, 3), "relu6")
    net = sketch.finish({"a": sketch.linear(sketch.plain("flat", Flatten(), alone), 3)}, {})
    assert agree(net, tmp_path) < 1e-5
    assert codes(tmp_path, "a") == Counter(RESHAPE=1, CONV_2D=2, RELU=1, ADD=1, FULLY_CONNECTED=1)


def test_an_output_before_its_rectifier_is_not_rectified(tmp_path):
    sketch = Sketch((4,), seed=2)
    raw = sketch.linear("x", 3)
    plan = plan_of(sketch, {"a": raw, "b": sketch.linear(sketch.act(raw), 2)})
    assert max(differences(plan, tmp_path).values()) < 1e-5


def test_raw_pixels_are_scaled_as_pytorch_does(tmp_path):
    sketch = Sketch((1, 16, 16), dtype="uint8")
    sketch.affine("x", frozen=True)
    flat = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), sketch.last))
    plan = plans_of(sketch.finish({"a": sketch.linear(flat, 2)}, {}))["a"]
    exporter.write({"a": plan}, tmp_path, {})
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_allclose(exporter.trace(plan, tmp_path, x)["x"], x / np.float32(255), rtol=1e-7)


def test_a_task_may_be_called_input(tmp_path):
    sketch = Sketch((1, 6, 6))
    flat = sketch.plain("flat", Flatten(), sketch.act(sketch.conv("x", 3)))
    net = sketch.finish({"input": sketch.linear(flat, 2), "age": sketch.linear(flat, 2)}, {})
    assert agree(net, tmp_path) < 1e-5


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("seed", [4, 7, 9, 15, 23])
def test_a_trace_shows_the_values_inside(seed, kind, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, Numerics(kind))
    first, *others = plans.values()
    exporter.write({plan.task_set: plan for plan in others or [first]}, tmp_path, {})
    x = batch(net, 2)
    for plan in plans.values():
        held = tensors(plan.graph)
        wanted = run(plan.graph, torch.as_tensor(x), lambda node, role, held=held: held[node.params[role]])
        found = exporter.trace(plan, tmp_path, x)
        missing = {name for name in wanted if name not in found}
        rectified = {node.inputs[0] for node in plan.graph.nodes if isinstance(node.op, Activation)}
        assert missing <= rectified
        for name, value in found.items():
            np.testing.assert_allclose(value, wanted[name].numpy(), rtol=1e-4, atol=1e-5 * float(wanted[name].max()))


def test_a_batch_norm_that_lowering_left_is_a_defect(tmp_path):
    sketch = Sketch((2, 4, 4))
    plan = plan_of(sketch, {"a": sketch.batch_norm("x")})
    with pytest.raises(InternalError, match="batch_norm 'bn0' cannot be written as TFLite"):
        exporter.write({"a": plan}, tmp_path, {})
    assert [*tmp_path.iterdir()] == []
