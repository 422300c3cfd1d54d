"""The ONNX models themselves: what they compute, and what is in the files."""

import itertools
import subprocess
import sys

import numpy as np
import onnx
import pytest

from pamc.errors import InternalError
from pamc.graph import Graph, Node, all_task_sets
from pamc.graph.interpret import evaluate
from pamc.graph.ops import (
    ACTIVATIONS,
    OPS,
    Activation,
    AvgPool,
    BatchNorm,
    Flatten,
    GlobalAvgPool,
    Input,
    MaxPool,
)
from pamc.lower import bare_plan, lower
from pamc.verify.compare import errors
from pamc_exporters.onnx import exporter
from pamc_exporters.onnx.check import check_shapes
from pamc_exporters.onnx.model import emit_model
from tests.lower.nets import Sketch, batch, random_net, two_task_net
from tests.targets import ARM64

SEEDS = range(40)


def plans_of(net):
    return {plan.task_set: plan for plan in lower(net, list(all_task_sets(len(net.tasks))), ARM64).values()}


def agree(net, directory, samples=3):
    """Write and run every task set; return the largest relative error."""
    plans = plans_of(net)
    exporter.write(plans, directory, {})
    x = batch(net, samples)
    whole = {task: value.numpy() for task, value in evaluate(net.graph, x).items()}
    worst = 0.0
    for task_set in plans:
        outputs = exporter.open(directory, task_set).run(x)
        assert "+".join(outputs) == task_set
        worst = max(worst, *(errors(found, whole[task])[1] for task, found in outputs.items()))
    return worst


@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_set_agrees_with_pytorch(seed, tmp_path):
    assert agree(random_net(seed), tmp_path) < 1e-4


def test_the_random_networks_hold_every_operation():
    nodes = [node for seed in SEEDS for node in random_net(seed).graph.nodes]
    assert {node.op.kind for node in nodes} == set(OPS)
    assert {node.op.function for node in nodes if isinstance(node.op, Activation)} == ACTIVATIONS


def _pooled(op, height, width):
    sketch = Sketch((2, height, width), seed=height)
    sketch.plain("pool", op, "x")
    return sketch.finish({"a": sketch.linear(sketch.plain("flat", Flatten(), sketch.last), 3)}, {})


@pytest.mark.parametrize("kernel, stride, padding", [((2, 2), (2, 2), 0), ((3, 3), (2, 2), 1), ((3, 2), (2, 3), 1)])
def test_rounding_up_pools_as_pytorch_does(kernel, stride, padding, tmp_path):
    for height, width, ceil in itertools.product((5, 6, 7), (8, 9), (False, True)):
        net = _pooled(MaxPool(kernel, stride, (padding, padding), ceil), height, width)
        assert agree(net, tmp_path) < 1e-6


def test_a_window_that_would_start_in_the_padding_is_dropped(tmp_path):
    # The case that runtimes got wrong: size 5, padding 1, stride 3 rounds up to 3 windows, PyTorch computes 2.
    net = _pooled(MaxPool((2, 2), (3, 3), (1, 1), True), 5, 5)
    assert net.graph.shapes["pool0"] == (2, 2, 2)
    assert agree(net, tmp_path) < 1e-6


@pytest.mark.parametrize("included", [True, False])
def test_padded_zeros_count_in_an_average_only_when_asked(included, tmp_path):
    assert agree(_pooled(AvgPool((3, 2), (2, 1), (1, 1), included), 7, 6), tmp_path) < 1e-6


def test_raw_pixels_are_scaled_exactly_as_pytorch_does(tmp_path):
    sketch = Sketch((1, 16, 16), dtype="uint8")
    sketch.affine("x", frozen=True)
    flat = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), sketch.last))
    net = sketch.finish({"a": sketch.linear(flat, 2)}, {})
    plan = plans_of(net)["a"]
    exporter.write({"a": plan}, tmp_path, {})
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    found = exporter.trace(plan, tmp_path, x)["x"]
    np.testing.assert_array_equal(found, x.astype(np.float32) / np.float32(255))


def test_files_are_valid_and_their_names_unique(tmp_path):
    net = random_net(4)
    for path in exporter.write(plans_of(net), tmp_path, {}):
        if path.suffix != ".onnx":
            continue
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(path, load_external_data=False).graph
        for names in ([node.name for node in graph.node], [tensor.name for tensor in graph.initializer]):
            assert len(set(filter(None, names))) == sum(map(bool, names)) > 0


def test_names_read_well_and_say_where_the_model_comes_from(tmp_path):
    exporter.write(plans_of(two_task_net()), tmp_path, {"name": "kit", "target": "arm64"})
    model = onnx.load(tmp_path / "age+smile.onnx", load_external_data=False)
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["age", "smile"]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "n",
        1,
        12,
        12,
    ]
    names = {node.name for node in model.graph.node}
    assert {"conv0/age+smile", "conv0/age", "conv0/smile", "conv1/age", "fc1/age"} <= names
    props = {prop.key: prop.value for prop in model.metadata_props}
    assert props["pamc.task_set"] == "age+smile"
    assert props["pamc.tasks"] == "age,smile"
    assert props["name"] == "kit"
    assert [prop.key for prop in model.metadata_props] == sorted(props)
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)


def test_a_task_may_be_called_input(tmp_path):
    sketch = Sketch((1, 6, 6))
    flat = sketch.plain("flat", Flatten(), sketch.act(sketch.conv("x", 3)))
    net = sketch.finish({"input": sketch.linear(flat, 2), "age": sketch.linear(flat, 2)}, {})
    assert agree(net, tmp_path) < 1e-5


def _plan(*nodes, params=()):
    return bare_plan(Graph((Node("x", Input((2, 4, 4))), *nodes), {"a": nodes[-1].name}, dict(params)), "arm64")


def test_a_batch_norm_that_lowering_left_is_a_defect():
    vectors = {f"bn.{role}": np.ones(2, np.float32) for role in ("gamma", "beta", "mean", "var")}
    node = Node("bn", BatchNorm(), ("x",), {key.removeprefix("bn."): key for key in vectors})
    with pytest.raises(InternalError, match="batch_norm 'bn' cannot be written as ONNX"):
        emit_model(_plan(node, params=vectors), {}, {})


def test_a_model_with_another_shape_than_the_plan_is_refused():
    plan = _plan(Node("pool", MaxPool((2, 2), (2, 2)), ("x",)))
    model = emit_model(plan, {}, {})
    check_shapes(model, plan)
    other = _plan(Node("pool", MaxPool((2, 2), (1, 1)), ("x",)))
    with pytest.raises(InternalError, match=r"pool in the model of a has the shape \(2, 2, 2\), should be \(2, 3, 3\)"):
        check_shapes(model, other)


def test_importing_the_exporter_imports_no_runtime():
    code = "import sys, pamc_exporters.onnx; print([m for m in ('onnx', 'onnxruntime', 'torch') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("checks", ["shapes and file", "file"])
def test_a_model_that_is_wrong_is_never_written(tmp_path, monkeypatch, checks):
    plans = plans_of(_pooled(MaxPool((2, 2), (2, 2), (0, 0), True), 7, 7))
    monkeypatch.setattr("pamc_exporters.onnx.emit._max_pool_ends", lambda op, size, out: op.padding)
    if checks == "file":
        monkeypatch.setattr("pamc_exporters.onnx.check.check_shapes", lambda model, plan: None)
    with pytest.raises(InternalError, match="has no valid shapes" if checks != "file" else "is not valid ONNX"):
        exporter.write(plans, tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.bin", "weights.json"]
