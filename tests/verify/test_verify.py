"""Verification bites: every way of spoiling an export is found and named."""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load as load_safetensors

from pamc.errors import ConfigError, InternalError, VerificationError
from pamc.graph import all_task_sets
from pamc.graph.interpret import evaluate
from pamc.lower import lower
from pamc.verify import errors, golden_vectors, select_samples, verify_exports
from pamc_exporters.onnx import exporter
from pamc_exporters.onnx.weights import read_index
from tests.lower.nets import batch, three_task_net, two_task_net
from tests.targets import ARM64


@dataclass
class Case:
    net: object
    plans: dict
    x: np.ndarray
    reference: dict
    directory: object

    def verify(self, **more):
        return verify_exports(exporter, self.directory, self.plans, self.x, self.reference, **more)


@pytest.fixture
def case(tmp_path):
    net = three_task_net(32)
    plans = {plan.task_set: plan for plan in lower(net, list(all_task_sets(3)), ARM64).values()}
    exporter.write(plans, tmp_path, {})
    x = batch(net, 4)
    reference = {task: value.numpy() for task, value in evaluate(net.graph, x).items()}
    return Case(net, plans, x, reference, tmp_path)


def edit(case, task_set, change):
    path = case.directory / f"{task_set}.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model.graph)
    path.write_bytes(model.SerializeToString(deterministic=True))


def place(case, name):
    found = read_index(case.directory)[name]
    return found.offset, found.shape


def test_a_sound_export_passes_with_one_check_per_output(case):
    checks = case.verify()
    assert [(check.task_set, check.output) for check in checks] == [
        (name, task) for name, plan in case.plans.items() for task in plan.graph.outputs
    ]
    assert all(check.format == "onnx" and check.samples == 4 and 0 <= check.max_rel < 1e-4 for check in checks)


def test_task_sets_that_were_not_emitted_are_verified_too(case):
    (case.directory / "age+smile.onnx").unlink()
    with pytest.raises(VerificationError, match=r"task set age\+smile: there is no ONNX network"):
        case.verify()
    assert len(case.verify(emitted=["age", "smile", "pose"])) == 12


def test_swapped_channels_are_traced_to_their_layer(case):
    start, shape = place(case, "conv1/age.weight")
    path = case.directory / "weights.bin"
    data = bytearray(path.read_bytes())
    size = 4 * int(np.prod(shape[1:]))
    first, second = data[start : start + size], data[start + size : start + 2 * size]
    data[start : start + 2 * size] = second + first
    path.write_bytes(data)
    with pytest.raises(VerificationError) as caught:
        case.verify()
    assert caught.value.exit_code == 4
    assert "onnx, task set age, output age: max abs" in caught.value.what
    assert "the first value that differs is conv1/age, a conv: max abs" in str(caught.value.why)


def test_a_dropped_bias_is_traced_to_its_layer(case):
    def drop(graph):
        (node,) = (node for node in graph.node if node.name == "fc0/age+pose")
        (bias,) = (tensor for tensor in graph.initializer if tensor.name == node.input[2])
        del node.input[2]
        graph.initializer.remove(bias)

    edit(case, "age+smile+pose", drop)
    with pytest.raises(VerificationError, match=r"task set age\+smile\+pose, output age") as caught:
        case.verify()
    assert "fc0/age+pose, a linear" in str(caught.value.why)


def test_the_weights_of_another_build_are_found(case):
    params = {name: array * np.float32(1.01) for name, array in case.net.graph.params.items()}
    other = case.net.with_params(params)
    stale = case.directory / "stale"
    stale.mkdir()
    exporter.write({"all": lower(other, [7], ARM64)[7]}, stale, {})
    (case.directory / "weights.bin").write_bytes((stale / "weights.bin").read_bytes())
    with pytest.raises(VerificationError, match="output age"):
        case.verify()


def test_outputs_in_another_order_are_found(case):
    def swap(graph):
        first, second = graph.output[0].name, graph.output[1].name
        graph.output[0].name, graph.output[1].name = second, first

    edit(case, "age+smile", swap)
    with pytest.raises(VerificationError, match=r"its outputs are \['smile', 'age'\], should be \['age', 'smile'\]"):
        case.verify()


def test_not_a_number_never_passes(case):
    def poison(graph):
        (node,) = (node for node in graph.node if node.name == "fc1/age")
        (bias,) = (tensor for tensor in graph.initializer if tensor.name == node.input[2])
        bias.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))

    edit(case, "age", poison)
    with pytest.raises(VerificationError, match="max abs inf, max rel inf"):
        case.verify()


def test_a_fault_of_lowering_is_told_from_a_fault_of_the_export(case):
    case.reference["pose"] = case.reference["pose"] + 1
    with pytest.raises(VerificationError) as caught:
        case.verify()
    assert caught.value.why == "the lowered network itself differs, before it was written"


def test_nothing_is_verified_by_no_samples(case):
    case.x = case.x[:0]
    with pytest.raises(InternalError, match="without samples"):
        case.verify()


def test_errors_are_relative_to_the_largest_magnitude():
    wanted = np.array([[0.0, -4.0]], np.float32)
    assert errors(wanted + np.float32(1), wanted) == (1.0, 0.25)
    assert errors(wanted, wanted) == (0.0, 0.0)
    assert errors(wanted[:, :1], wanted) == (np.inf, np.inf)
    assert errors(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)) == (0.0, 0.0)


def test_golden_vectors_hold_inputs_and_what_pytorch_computes():
    net = two_task_net()
    x = batch(net, 40)
    vectors = golden_vectors(net, x, seed=3)
    held = load_safetensors(vectors.to_bytes())
    assert set(held) == {"input", "output:age", "output:smile"}
    assert held["input"].shape == (16, 1, 12, 12)
    np.testing.assert_array_equal(held["output:age"], evaluate(net.graph, held["input"])["age"].numpy())
    assert vectors.to_bytes() == golden_vectors(net, x, seed=3).to_bytes()


def test_samples_are_chosen_by_the_seed_without_repetition():
    x = np.arange(100)
    chosen = select_samples(x, 1).tolist()
    assert len(set(chosen)) == 16
    assert chosen == sorted(chosen)
    assert select_samples(x, 1).tolist() != select_samples(x, 2).tolist()
    assert select_samples(x[:3], 1).tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="no samples"):
        select_samples(x[:0], 1)
