"""int8 in .tflite files: numbers, scales that groups and task sets share, and how much of a network is int8."""

import random
import time
from collections import Counter

import numpy as np
import pytest
import torch

from pamc.graph.interpret import step
from pamc.graph.ops import Activation, Add, AvgPool, Concat, Flatten, GlobalAvgPool, MaxPool, Mul, Softmax, Unflatten
from pamc.lower import Numerics
from pamc.lower.quantized import quantized_params
from pamc_exporters.tflite import exporter
from pamc_exporters.tflite.exporter import FILE
from tests.campaign.old_runtime import old_runtime
from tests.exporters.tflite_tools import codes, int8_of, model_of, plan_of, plans_of
from tests.lower.nets import Sketch, batch, random_net, two_task_net

COPYING = {"MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "TRANSPOSE", "CONCATENATION", "PAD", "PADV2", "GATHER"}


def written(net, directory, numerics=None):
    plans = plans_of(net, numerics or int8_of(net))
    exporter.write(plans, directory, {})
    return plans


def steps_apart(plan, value, found, wanted):
    """Largest difference in steps of a value's scale, of what int8 can hold."""
    low, high = plan.ranges[value]
    return np.abs(np.clip(found, low, high) - np.clip(wanted, low, high)).max() * 255 / (high - low or 1)


def own_errors(plan, traced):
    """What each operator adds: its value against that of exact sums over the traced inputs, in steps."""
    held = quantized_params(plan.graph, plan.ranges)

    def computed(name):
        node = plan.graph.by_name[name]
        return step(node, lambda node, role: held[node.params[role]], [read(source) for source in node.inputs])

    def read(name):
        return torch.tensor(traced[name], dtype=torch.float64) if name in traced else computed(name)

    names = [node.name for node in plan.graph.nodes if node.inputs and node.name in traced]
    return {name: steps_apart(plan, name, traced[name], computed(name).numpy()) for name in names}


def interior(directory, task_set):
    """Types of a task set's values, without its input and outputs."""
    (found,) = (subgraph for subgraph in model_of(directory).subgraphs if subgraph.name == task_set)
    ends = {*found.inputs.values(), *found.outputs.values()}
    return Counter(tensor.type for place, tensor in enumerate(found.tensors) if not tensor.data and place not in ends)


@pytest.mark.parametrize("seed", [*range(10), 17, 24, 28])
def test_every_operator_rounds_once(seed, tmp_path):
    net = random_net(seed)
    plans = written(net, tmp_path)
    x = batch(net, 8)
    for plan in list(plans.values())[-2:]:
        traced = exporter.trace(plan, tmp_path, x)
        rough = {name: error for name, error in own_errors(plan, traced).items() if not error < 1.1}
        # A gate is rounded to 1/256 before it is multiplied.
        functions = {getattr(plan.graph.by_name[name].op, "function", name) for name in rough}
        assert functions <= {"silu"}, rough
        assert max(rough.values(), default=0) < 3
        for task, found in exporter.open(tmp_path, plan.task_set).run(x).items():
            value = plan.graph.outputs[task]
            assert steps_apart(plan, value, found, traced[value]) < 1.1


@pytest.mark.parametrize("seed", [2, 5, 14])
def test_all_task_sets_store_the_same_numbers_at_the_same_scales(seed, tmp_path):
    written(random_net(seed), tmp_path)
    *others, whole = model_of(tmp_path).subgraphs

    def constants(subgraph):
        return {(t.data, t.quantization) for t in subgraph.tensors if t.data and t.quantization}

    assert constants(whole)
    for subgraph in others:
        assert constants(subgraph) <= constants(whole)


@pytest.mark.parametrize("seed", [1, 6, 8])
def test_operators_that_copy_numbers_keep_their_scale(seed, tmp_path):
    written(random_net(seed), tmp_path)
    for subgraph in model_of(tmp_path).subgraphs:
        for operator in subgraph.operators:
            if operator.code in COPYING:
                places = [*operator.inputs, *operator.outputs]
                values = [subgraph.tensors[place] for place in places if not subgraph.tensors[place].data]
                assert len({tensor.quantization for tensor in values}) == 1


def joined_net():
    """Task a reads a join of two maps; task b only one of them."""
    sketch = Sketch((2, 6, 6), seed=4)
    left, right = sketch.act(sketch.conv("x", 4), "sigmoid"), sketch.act(sketch.conv("x", 5))
    pooled = [sketch.plain("pool", MaxPool((2, 2), (2, 2)), value) for value in (left, right)]
    both = sketch.plain("flat", Flatten(), sketch.plain("cat", Concat(), *pooled))
    one = sketch.plain("flat", Flatten(), pooled[1])
    outputs = {"a": sketch.linear(both, 3), "b": sketch.linear(one, 3)}
    return sketch.finish(outputs, {"conv0": [1] * 4, "conv1": [3, 3, 3, 2, 1]})


def test_joined_values_share_the_widest_range_in_every_task_set(tmp_path):
    net = joined_net()
    ranges = {**int8_of(net).ranges, "act0": (0.0, 1.0), "act1": (0.0, 3.0)}
    ranges |= {"pool0": (0.0, 0.9), "pool1": (0.0, 2.9), "cat0": (0.0, 2.9), "flat0": (0.0, 2.9), "flat1": (0.0, 2.9)}
    plans = written(net, tmp_path, Numerics("int8", ranges))
    for subgraph in model_of(tmp_path).subgraphs:
        for operator in subgraph.operators:
            if operator.code in {"MAX_POOL_2D", "CONCATENATION"}:
                (scale,) = {subgraph.tensors[place].quantization.scales for place in operator.outputs}
                assert scale == (pytest.approx(3.0 / 255),)
    # What is joined elsewhere is known from the file.
    exporter.write({"a": plans["a"]}, tmp_path, {})
    x = batch(net, 2)
    alone = exporter.compose(plans["b"], tmp_path).run(x)["b"]
    written(net, tmp_path, Numerics("int8", ranges))
    np.testing.assert_array_equal(exporter.open(tmp_path, "b").run(x)["b"], alone)


def test_a_convolutional_network_is_int8_throughout(tmp_path):
    written(two_task_net(), tmp_path)
    for task_set in ("age", "age+smile"):
        found = codes(tmp_path, task_set)
        assert found["QUANTIZE"] == 1
        assert found["DEQUANTIZE"] == len(task_set.split("+"))
        assert set(interior(tmp_path, task_set)) == {"INT8"}


@pytest.mark.parametrize("log", [False, True])
def test_operations_with_int8_kernels_take_no_way_through_floats(log, tmp_path):
    sketch = Sketch((3, 9, 9), seed=1)
    sketch.affine("x")
    for function in ("relu", "hardswish", "leaky_relu", "silu", "gelu", "relu6"):
        sketch.act(sketch.conv(sketch.last, 4), function)
    sketch.plain("max", MaxPool((3, 3), (2, 2), (1, 1)), sketch.depthwise(sketch.last))
    sketch.plain("avg", AvgPool((2, 2), (2, 2)), sketch.last)
    value = sketch.last
    pooled = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), value))
    gate = sketch.act(sketch.linear(sketch.act(sketch.linear(pooled, 5), "tanh"), 4), "sigmoid")
    value = sketch.plain("mul", Mul(), value, sketch.plain("unflat", Unflatten(), gate))
    flat = sketch.affine(sketch.plain("flat", Flatten(), value))
    net = sketch.finish({"a": sketch.plain("soft", Softmax(log=log), sketch.linear(flat, 3))}, {})
    written(net, tmp_path)
    assert set(interior(tmp_path, "a")) == {"INT8"}
    assert codes(tmp_path, "a")["QUANTIZE"] == codes(tmp_path, "a")["DEQUANTIZE"] == 1


@pytest.mark.parametrize(
    "op", [Activation("hardsigmoid"), Activation("elu", 0.8), AvgPool((3, 3), (2, 2), (1, 1), False)]
)
def test_operations_without_int8_kernels_are_computed_in_floats(op, tmp_path):
    sketch = Sketch((2, 6, 6), seed=1)
    value = sketch.plain("op", op, sketch.conv("x", 3))
    net = sketch.finish({"a": sketch.linear(sketch.plain("flat", Flatten(), value), 3)}, {})
    plan = written(net, tmp_path)["a"]
    assert codes(tmp_path, "a")["DEQUANTIZE"] == 2
    x = batch(net, 8)
    assert max(own_errors(plan, exporter.trace(plan, tmp_path, x)).values()) < 1.1


def test_pixels_become_int8_without_a_way_through_floats(tmp_path):
    sketch = Sketch((3, 6, 6), seed=1, dtype="uint8")
    flat = sketch.plain("flat", Flatten(), sketch.act(sketch.conv(sketch.affine("x", frozen=True), 4)))
    net = sketch.finish({"a": sketch.linear(flat, 3)}, {})
    plan = written(net, tmp_path)["a"]
    assert interior(tmp_path, "a") == Counter({"INT8": interior(tmp_path, "a")["INT8"], "UINT8": 1})
    assert codes(tmp_path, "a")["QUANTIZE"] == 1
    x = batch(net, 3)
    np.testing.assert_allclose(exporter.trace(plan, tmp_path, x)["x"], x / np.float32(255), rtol=1e-6)


@pytest.mark.parametrize(
    "weight, bias, span",
    [
        (0.0, 0.7, (0.0, 1.0)),
        (0.0, -50.0, (0.0, 1.0)),
        (0.0, 50.0, (-1.0, 0.0)),
        (0.0, 0.0, (0.0, 0.0)),
        (1e-30, 5.0, (0.0, 5.0)),
        (1e-6, 1e6, (0.0, 2e6)),
        (1.0, 0.0, (-4.0, 4.0)),
    ],
)
def test_rows_of_almost_nothing_still_compute(weight, bias, span, tmp_path):
    sketch = Sketch((2, 3, 3))
    kernel = sketch.normal(2, 2, 1, 1)
    kernel[1] *= weight
    sketch.params |= {"w": kernel.astype(np.float32), "b": np.array([0, bias], np.float32)}
    value = sketch.conv("x", 2, kernel=1)
    sketch.params |= {f"{value}.weight": sketch.params["w"], f"{value}.bias": sketch.params["b"]}
    ranges = {"x": (-3.0, 3.0), value: span}
    plan = plan_of(sketch, {"a": value}, "int8", ranges)
    exporter.write({"a": plan}, tmp_path, {})
    x = np.random.default_rng(0).uniform(-3, 3, (1, 2, 3, 3)).astype(np.float32)
    wanted = np.clip(
        (x * 0 + 1) * bias + weight * np.einsum("oi,nihw->nohw", kernel[1:, :, 0, 0] / (weight or 1), x), *span
    )
    for outputs in (exporter.open(tmp_path, "a").run(x), old_runtime().run(tmp_path / FILE, "a", x)):
        assert np.abs(outputs["a"][:, 1:] - wanted[:, :1]).max() <= 2 * max(span[1] - span[0], 1e-6) / 255


@pytest.mark.parametrize("reach", [1e-2, 1e-5, 1e-42, 1e9])
def test_layers_that_hardly_answer_or_answer_too_much_still_compute(reach, tmp_path):
    sketch = Sketch((2, 3, 3))
    values = [sketch.conv("x", 2, kernel=1), sketch.depthwise("x"), sketch.affine("x"), sketch.act("x", "hardswish")]
    values += [sketch.plain("add", Add(), "x", "x"), sketch.plain("mul", Mul(), "x", "x"), sketch.act("x", "relu")]
    back = [sketch.conv(value, 2, kernel=1) for value in values]
    ranges = {node.name: (-reach, reach) for node in sketch.nodes} | dict.fromkeys(["x", *back], (-3.0, 3.0))
    outputs = {f"{place}": value for place, value in enumerate([*values, *back])}
    plan = plan_of(sketch, outputs, "int8", ranges)
    exporter.write({plan.task_set: plan}, tmp_path, {})
    x = np.random.default_rng(0).uniform(-3, 3, (2, 2, 3, 3)).astype(np.float32)
    if 1e-40 < reach < 1:
        assert max(own_errors(plan, exporter.trace(plan, tmp_path, x)).values()) < 1.1
    for task, found in old_runtime().run(tmp_path / FILE, plan.task_set, x).items():
        assert steps_apart(plan, outputs[task], found, exporter.open(tmp_path, plan.task_set).run(x)[task]) < 1.1


@pytest.mark.campaign
def test_int8_is_three_times_as_fast_as_float32(tmp_path):
    sketch = Sketch((3, 64, 64), seed=1)
    for units in (128, 256):
        for _ in range(2):
            sketch.act(sketch.conv(sketch.last, units))
        sketch.plain("pool", MaxPool((2, 2), (2, 2)), sketch.last)
    flat = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), sketch.last))
    outputs = {task: sketch.linear(flat, 10) for task in ("age", "smile")}
    net = sketch.finish(outputs, lambda _, units: np.sort(np.arange(units, dtype=np.uint32) % 3 + 1))
    x = batch(net, 1)
    sessions, seconds = {}, {}
    for kind, numerics in (("float32", Numerics()), ("int8", int8_of(net, 2))):
        (tmp_path / kind).mkdir()
        for task_set in written(net, tmp_path / kind, numerics):
            sessions[kind, task_set] = exporter.open(tmp_path / kind, task_set)
    for _ in range(20):
        for key in random.sample(sorted(sessions), len(sessions)):
            start = time.thread_time()
            sessions[key].run(x)
            seconds.setdefault(key, []).append(time.thread_time() - start)
    for task_set in ("age", "smile", "age+smile"):
        slow, fast = (np.median(seconds[kind, task_set]) for kind in ("float32", "int8"))
        assert slow > 3 * fast, (task_set, slow, fast)


def test_the_file_is_a_quarter(tmp_path):
    sketch = Sketch((1, 8, 8), seed=1)
    for _ in range(3):
        sketch.act(sketch.conv(sketch.last, 96))
    net = sketch.finish({"a": sketch.linear(sketch.plain("flat", Flatten(), sketch.last), 8)}, {})
    sizes = []
    for numerics in (Numerics(), Numerics("float16"), int8_of(net)):
        written(net, tmp_path, numerics)
        sizes.append((tmp_path / FILE).stat().st_size)
    assert sizes[1] < 0.52 * sizes[0]
    assert sizes[2] < 0.28 * sizes[0]
