"""float16 and int8 networks: what is stored, what is computed, and by which kernels."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime import quantization as oracle

from pamc.graph import all_task_sets
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Concat, Flatten, MaxPool
from pamc.lower import Numerics, load_target, lower
from pamc.lower.calibration import calibrate
from pamc.lower.quantized import quantized_values
from pamc.progress import QuietProgress
from pamc.verify.compare import errors
from pamc_exporters.onnx import exporter, session
from pamc_exporters.onnx.quantize import Scale, scale_of
from pamc_exporters.onnx.tensors import stored_tensors
from pamc_exporters.onnx.weights import read_index
from tests.lower.nets import Sketch, batch, random_net, three_task_net
from tests.zoo.captured import aligned, random_owners

HALF = Numerics("float16")


def measured(net):
    return calibrate(net, batch(net, 64, seed=9), QuietProgress())


def plans_of(net, numerics, target="x86_64"):
    found = lower(net, list(all_task_sets(len(net.tasks))), load_target(target), numerics)
    return {plan.task_set: plan for plan in found.values()}


def kernels(path, folder):
    """Operators of the graph that ONNX Runtime makes of a file, with their counts."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised")
    onnxruntime.InferenceSession(str(path), options)
    return Counter(node.op_type for node in onnx.load(folder / "optimised", load_external_data=False).graph.node)


def raw_net():
    """Pixels that a convolution reads as they are."""
    sketch = Sketch((3, 12, 12), seed=4, dtype="uint8")
    sketch.act(sketch.conv("x", 16))
    sketch.plain("pool", MaxPool((2, 2), (2, 2)), sketch.last)
    hidden = sketch.act(sketch.conv(sketch.last, 12), "relu6")
    flat = sketch.plain("flat", Flatten(), hidden)
    outputs = {"a": sketch.linear(flat, 4), "b": sketch.linear(flat, 3)}
    return sketch.finish(outputs, lambda _, units: np.arange(units, dtype=np.uint32) % 3 + 1)


@pytest.mark.parametrize("seed", range(0, 40, 5))
def test_half_weights_compute_what_pytorch_computes_with_them(seed, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, HALF)
    exporter.write(plans, tmp_path, {})
    x = batch(net, 3)
    for task_set, plan in plans.items():
        wanted = evaluate(plan.graph, x)
        for task, found in exporter.open(tmp_path, task_set).run(x).items():
            assert errors(found, wanted[task].numpy())[1] < 1e-5


def test_half_weights_take_half_the_bytes(tmp_path):
    sizes = {}
    for numerics in (Numerics(), HALF):
        folder = tmp_path / numerics.kind
        folder.mkdir()
        exporter.write(plans_of(three_task_net(64), numerics), folder, {})
        sizes[numerics.kind] = (folder / "weights.bin").stat().st_size
        assert {place.dtype for place in read_index(folder).values()} == {numerics.kind}
    assert sizes["float16"] < 0.51 * sizes["float32"]


def test_rows_of_int8_weights_have_scales_of_their_own(tmp_path):
    net = three_task_net(64)
    plans = plans_of(net, measured(net))
    exporter.write(plans, tmp_path, {})
    index = read_index(tmp_path)
    name = next(name for name in index if name.startswith("conv1/") and name.endswith(".weight"))
    assert index[name].dtype == "int8"
    plan = plans["age+smile+pose"]
    arrays = stored_tensors(plan)
    weight, step = plan.graph.params[name], arrays[f"{name}:step"]
    assert step.shape == (len(weight),)
    np.testing.assert_allclose(step, np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127, rtol=1e-6)
    assert (np.abs(arrays[name].astype(int)).reshape(len(weight), -1).max(axis=1) == 127).all()
    bias = name.replace("weight", "bias")
    assert arrays[bias].dtype == np.int32
    node = next(node for node in plan.graph.nodes if node.params.get("weight") == name)
    np.testing.assert_array_equal(
        arrays[f"{bias}:step"], step * np.float32(scale_of(plan.ranges[node.inputs[0]], True).step)
    )
    np.testing.assert_allclose(
        arrays[bias] * arrays[f"{bias}:step"], plan.graph.params[bias], atol=float(arrays[f"{bias}:step"].max())
    )


@pytest.mark.parametrize("name", ["small_resnet", "small_mobilenet", "se_resnet"])
def test_every_layer_of_a_grouped_network_becomes_an_integer_kernel(name, tmp_path):
    net = random_owners(aligned(name, 2), 1)
    plan = plans_of(net, measured(net))["a+b"]
    exporter.write({"a+b": plan}, tmp_path, {})
    found, layers = kernels(tmp_path / "a+b.onnx", tmp_path), Counter(node.op.kind for node in plan.graph.nodes)
    assert found["QLinearConv"] == layers["conv"] + layers["depthwise_conv"] > 0
    assert found["QGemm"] == layers["linear"] > 0
    assert found["QLinearAdd"] == layers["add"]
    floats = {"Conv", "FusedConv", "Gemm", "FusedGemm", "Relu", "Clip", "Add", "MaxPool", "DequantizeLinear"}
    assert not floats & set(found)


def nodes_that_read(graph, values):
    return {node.op_type for node in graph.node if set(values) & set(node.input)}


def test_pixels_go_into_an_integer_kernel_as_they_are(tmp_path):
    net = raw_net()
    exporter.write(plans_of(net, measured(net)), tmp_path, {})
    graph = onnx.load(tmp_path / "a+b.onnx").graph
    assert nodes_that_read(graph, ["input"]) == {"DequantizeLinear"}
    pixels = [node.output[0] for node in graph.node if "input" in node.input]
    assert nodes_that_read(graph, pixels) == {"Conv"}


def test_what_only_moves_numbers_moves_stored_ones(tmp_path):
    sketch = Sketch((3, 12, 12), seed=4)
    joined = sketch.plain("cat", Concat(), *(sketch.act(sketch.conv("x", units)) for units in (6, 8)))
    flat = sketch.plain("flat", Flatten(), sketch.plain("pool", MaxPool((2, 2), (2, 2)), joined))
    net = sketch.finish({"a": sketch.linear(flat, 4)}, {})
    exporter.write(plans_of(net, measured(net)), tmp_path, {})
    graph = onnx.load(tmp_path / "a.onnx").graph
    floats = [node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"]
    assert {"Concat", "MaxPool", "Flatten"} <= {node.op_type for node in graph.node}
    assert nodes_that_read(graph, floats) == {"Conv", "Gemm"}


@pytest.mark.parametrize("seed", [0, 3, 9, 12, 28, 38])
@pytest.mark.parametrize("target", ["x86_64", "arm64"])
def test_int8_files_are_near_the_quantised_reference(seed, target, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, measured(net), target)
    exporter.write(plans, tmp_path, {})
    x = batch(net, 8, seed=5)
    for task_set, plan in plans.items():
        values = quantized_values(plan.graph, plan.ranges, x)
        for task, found in exporter.open(tmp_path, task_set).run(x).items():
            # The reference also rounds what ends a network and what a normalisation reads.
            assert errors(found, values[plan.graph.outputs[task]].numpy())[1] < 0.05


@pytest.mark.parametrize("name", ["lenet", "small_resnet"])
def test_int8_is_as_exact_as_the_quantizer_of_onnx_runtime(name, tmp_path):
    net = random_owners(aligned(name, 2), 1)
    calibration, x = batch(net, 64, seed=9), batch(net, 32, seed=5)
    wanted = evaluate(net.graph, x)
    floats, ours = tmp_path / "floats", tmp_path / "ours"
    for folder, numerics in ((floats, Numerics()), (ours, measured(net))):
        folder.mkdir()
        exporter.write(plans_of(net, numerics), folder, {})

    class Samples(oracle.CalibrationDataReader):
        def __init__(self):
            self.left = iter(np.split(calibration, 8))

        def get_next(self):
            part = next(self.left, None)
            return None if part is None else {"input": part}

    theirs = tmp_path / "theirs.onnx"
    oracle.quantize_static(floats / "a+b.onnx", theirs, Samples(), per_channel=True)
    found = onnxruntime.InferenceSession(str(theirs)).run(["a", "b"], {"input": x})
    mine = exporter.open(ours, "a+b").run(x)
    for task, other in zip(("a", "b"), found, strict=True):
        exact = wanted[task].numpy()
        error, limit = (np.sqrt(np.mean((answer - exact) ** 2)) for answer in (mine[task], other))
        assert error < 1.1 * limit


def test_signed_and_unsigned_values_compute_the_same(tmp_path):
    net = random_owners(aligned("small_resnet", 2), 1)
    x, numerics, answers = batch(net, 4), measured(net), {}
    for target in ("x86_64", "arm64"):
        folder = tmp_path / target
        folder.mkdir()
        exporter.write(plans_of(net, numerics, target), folder, {})
        answers[target] = exporter.open(folder, "a+b").run(x)["a"]
        kinds = {tensor.data_type for tensor in onnx.load(folder / "a.onnx").graph.initializer if tensor.dims == []}
        assert (onnx.TensorProto.UINT8 in kinds) is (target == "x86_64")
    assert errors(answers["arm64"], answers["x86_64"])[1] < 0.01


def test_old_x86_machines_compute_the_same(tmp_path, monkeypatch):
    net = random_owners(aligned("lenet", 2), 1)
    exporter.write(plans_of(net, measured(net)), tmp_path, {})
    x = batch(net, 4)
    here = exporter.open(tmp_path, "a").run(x)["a"]
    monkeypatch.setattr(session, "_CPUINFO", tmp_path / "cpuinfo")
    for flags, overflow in (("flags: avx512_vnni", False), ("flags: avx2", True)):
        (tmp_path / "cpuinfo").write_text(flags)
        session._sums_overflow.cache_clear()
        assert session._sums_overflow() is overflow
        np.testing.assert_allclose(exporter.open(tmp_path, "a").run(x)["a"], here, atol=1e-6)
        options = session.start(tmp_path / "a.onnx", tmp_path, 1).get_session_options()
        if overflow:
            assert options.get_session_config_entry("session.x64quantprecision") == "1"
    session._sums_overflow.cache_clear()


def test_traced_values_are_the_stored_ones(tmp_path):
    net = raw_net()
    plan = plans_of(net, measured(net))["a+b"]
    exporter.write({"a+b": plan}, tmp_path, {})
    x = batch(net, 4)
    found, wanted = exporter.trace(plan, tmp_path, x), quantized_values(plan.graph, plan.ranges, x)
    convs = {node.name for node in plan.graph.nodes if node.op.kind == "conv"}
    # A ReLU is a part of the convolution before it, whose own value is nowhere.
    assert set(wanted) - set(found) == convs
    for name, value in found.items():
        step = scale_of(plan.ranges[name], True).step
        assert np.abs(value - wanted[name].numpy()).max() <= 1.01 * step


@pytest.mark.parametrize(
    "bounds, signed, unsigned",
    [
        ((0.0, 255.0), Scale(1.0, -128, True), Scale(1.0, 0, False)),
        ((-128.0, 127.0), Scale(1.0, 0, True), Scale(1.0, 128, False)),
        ((-255.0, 0.0), Scale(1.0, 127, True), Scale(1.0, 255, False)),
        ((0.0, 0.0), Scale(1.0, -128, True), Scale(1.0, 0, False)),
    ],
)
def test_scales_hold_their_range_and_zero(bounds, signed, unsigned):
    assert scale_of(bounds, True) == signed
    assert scale_of(bounds, False) == unsigned


def test_rows_without_weights_keep_their_bias(tmp_path):
    net = raw_net()
    params = {key: np.array(array) for key, array in net.graph.params.items()}
    params["conv0.weight"][:] *= np.float32(1e-12)
    params["conv0.weight"][0] = 0
    net = net.with_params(params)
    plans = plans_of(net, measured(net))
    for name, array in stored_tensors(plans["a+b"]).items():
        if name.startswith("conv0/") and name.endswith(".bias"):
            stored = array * stored_tensors(plans["a+b"])[f"{name}:step"]
            np.testing.assert_allclose(stored, plans["a+b"].graph.params[name], rtol=1e-6)
    exporter.write(plans, tmp_path, {})
    x = batch(net, 2)
    assert errors(exporter.open(tmp_path, "a").run(x)["a"], evaluate(net.graph, x)["a"].numpy())[1] < 0.02
