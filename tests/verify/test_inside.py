"""Each operation of a file is checked by itself, and lowering before anything is written."""

from dataclasses import replace

import numpy as np
import pytest

from pamc.errors import VerificationError
from pamc.export import find_exporter
from pamc.graph import all_task_sets
from pamc.graph.ops import BatchNorm
from pamc.lower import Numerics, lower
from pamc.lower.calibration import calibrate
from pamc.progress import QuietProgress
from pamc.verify import verify_operations, verify_plans
from pamc.verify.inside import probes
from tests.lower.nets import batch, random_net, three_task_net, two_task_net
from tests.targets import ARM64

FORMATS = ("onnx", "tflite")
# TFLite's exporter compares the weights in a file with the plan's before it shows anything.
WORDS = {
    "onnx": r"inside: conv{0}/{1}, a conv: channel {2} is off by",
    "tflite": r"inside: the weights conv{0}/{1}.weight are not those",
}


def plans_of(net, numerics):
    return {plan.task_set: plan for plan in lower(net, [*all_task_sets(len(net.tasks))], ARM64, numerics).values()}


def with_param(plan, key, change):
    array = plan.graph.params[key].copy()
    change(array)
    return replace(plan, graph=plan.graph.with_params({key: array}))


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_file_passes(format, kind, tmp_path):
    net = random_net(7)
    x = batch(net, 8)
    numerics = calibrate(net, x, QuietProgress()) if kind == "int8" else Numerics(kind)
    plans = plans_of(net, numerics)
    exporter = find_exporter(format)
    exporter.write(plans, tmp_path, {})
    verify_operations(exporter, tmp_path, plans.values(), x)
    verify_plans(net, numerics, plans.values(), x)


@pytest.mark.parametrize("format", FORMATS)
def test_one_weight_a_hundredth_off_is_named(format, tmp_path):
    net = three_task_net(16)
    plans = plans_of(net, Numerics())
    exporter = find_exporter(format)

    def nudge(array):
        array[2, 0, 1, 1] *= 1.01

    key = "conv1/age.weight"
    wrong = {name: with_param(plan, key, nudge) if key in plan.graph.params else plan for name, plan in plans.items()}
    exporter.write(wrong, tmp_path, {})
    with pytest.raises(VerificationError, match=WORDS[format].format(1, "age", 2)):
        verify_operations(exporter, tmp_path, plans.values(), batch(net, 8))


@pytest.mark.parametrize("format", FORMATS)
def test_a_weight_that_the_data_never_reach_is_checked_with_noise(format, tmp_path):
    net = two_task_net()
    plans = plans_of(net, Numerics())

    def nudge(array):
        array[0, 0, 1, 1] *= 1.5

    key = "conv0/age+smile.weight"
    exporter = find_exporter(format)
    exporter.write({name: with_param(plan, key, nudge) for name, plan in plans.items()}, tmp_path, {})
    dark = np.zeros((8, 1, 12, 12), np.float32)
    with pytest.raises(VerificationError, match=WORDS[format].format(0, r"age\+smile", 0)):
        verify_operations(exporter, tmp_path, plans.values(), dark)


def test_an_epsilon_that_folding_misread_is_found():
    net = random_net(1)
    norm = next(node for node in net.graph.nodes if isinstance(node.op, BatchNorm))
    nodes = tuple(replace(node, op=BatchNorm(1e-3)) if node is norm else node for node in net.graph.nodes)
    misread = replace(net, graph=replace(net.graph, nodes=nodes))
    with pytest.raises(VerificationError, match=r"lowering task set .* changes output"):
        verify_plans(net, Numerics(), plans_of(misread, Numerics()).values(), batch(net, 4))


def test_probes_are_data_and_as_much_noise():
    x = np.full((100, 3), 5.0, np.float32)
    assert probes(x, 1).shape == (16, 3)
    np.testing.assert_array_equal(probes(x, 1)[:8], x[:8])
    assert probes(x, 1)[8:].std() > 0.5
    assert len(probes(x, 2**40)) == 2
    assert len(probes(x[:1], 1)) == 2
    pixels = probes(np.zeros((4, 50), np.uint8), 1)
    assert pixels.dtype == np.uint8
    assert pixels[4:].max() > 200
