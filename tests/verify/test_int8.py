"""What the limit for int8 lets pass, and what not, with real files in both formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from pamc.errors import VerificationError
from pamc.graph import all_task_sets
from pamc.lower import Numerics, calibrate, lower
from pamc.progress import QuietProgress
from pamc.verify import neighbours, reference_outputs, verify_exports
from pamc.verify.limits import Floats, Steps
from pamc_exporters.onnx import exporter as onnx
from pamc_exporters.tflite import exporter as tflite
from tests.lower.nets import batch, random_net, three_task_net
from tests.targets import ARM64

EXPORTERS = {"onnx": onnx, "tflite": tflite}


class Case:
    """An int8 network with its plans, proof samples and reference."""

    def __init__(self, net):
        numerics = calibrate(net, batch(net, 48), QuietProgress())
        self.x = batch(net, 64, seed=1)
        self.reference = reference_outputs(net, numerics, self.x)
        self.near = neighbours(net, numerics, self.x)
        plans = lower(net, list(all_task_sets(len(net.tasks))), ARM64, numerics)
        self.plans = {plan.task_set: plan for plan in plans.values()}

    def verify(self, exporter, directory, plans=None):
        """Write some plans and verify them as if they were the right ones."""
        exporter.write(plans or self.plans, directory, {})
        return verify_exports(exporter, directory, self.plans, self.x, self.reference, near=lambda: self.near)


@pytest.fixture(scope="module")
def case():
    return Case(three_task_net())


@pytest.mark.parametrize("format", EXPORTERS)
def test_sound_files_pass(case, format, tmp_path):
    checks = case.verify(EXPORTERS[format], tmp_path)
    assert len(checks) == 12
    assert all(check.max_rel < 0.1 for check in checks)


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("seed", [0, 4, 17, 29])
def test_sound_files_of_delicate_networks_pass(format, seed, tmp_path):
    delicate = Case(random_net(seed))
    assert delicate.verify(EXPORTERS[format], tmp_path)


def swapped(weight):
    return weight[[1, 0, *range(2, len(weight))]]


def negated(weight):
    return np.concatenate([-weight[:1], weight[1:]])


def stretched(weight):
    return np.concatenate([1.25 * weight[:1], weight[1:]])


def emptied(weight):
    return np.zeros_like(weight)


FAULTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "channels are swapped": ("conv1/age.weight", swapped),
    "a filter has the other sign": ("conv1/age.weight", negated),
    "the scale of a row is wrong": ("fc0/age+smile.weight", stretched),
    "a bias is lost": ("fc1/age.bias", emptied),
    "weights are of another build": ("conv0/age.weight", lambda weight: weight[::-1]),
}


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_found(case, format, fault, tmp_path):
    key, change = FAULTS[fault]
    broken = {
        text: replace(plan, graph=plan.graph.with_params({key: change(plan.graph.params[key])}))
        if key in plan.graph.params
        else plan
        for text, plan in case.plans.items()
    }
    with pytest.raises(VerificationError, match=f"{format}, task set .*, output .*: max abs"):
        case.verify(EXPORTERS[format], tmp_path, broken)


@pytest.mark.parametrize("format", EXPORTERS)
def test_a_wrong_range_is_found(case, format, tmp_path):
    value = "act2/age"
    broken = {
        text: replace(plan, ranges=MappingProxyType({**plan.ranges, value: (0.0, 0.25 * plan.ranges[value][1])}))
        if value in plan.ranges
        else plan
        for text, plan in case.plans.items()
    }
    with pytest.raises(VerificationError, match="output age"):
        case.verify(EXPORTERS[format], tmp_path, broken)


def test_neighbours_differ_by_little_and_are_the_same_again(case):
    net = three_task_net()
    numerics = calibrate(net, batch(net, 48), QuietProgress())
    again = neighbours(net, numerics, case.x)
    for task, draws in case.near.items():
        assert draws.shape == (4, *case.reference[task].shape)
        np.testing.assert_array_equal(draws, again[task])
        assert 0 < np.abs(draws - case.reference[task]).max() < 0.2 * np.abs(case.reference[task]).max()


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_neighbours_of_floats_differ_by_next_to_nothing(case, kind):
    net, numerics = three_task_net(), Numerics(kind)
    reference = reference_outputs(net, numerics, case.x)
    for task, draws in neighbours(net, numerics, case.x).items():
        assert draws.shape == (4, *reference[task].shape)
        found = [Floats(near=draw[None]).allowed(reference[task]) for draw in draws]
        assert min(found) > 1e-4 and max(found) < 1.1e-4


def test_steps_are_counted_by_channel_within_the_range():
    wanted = np.zeros((50, 2, 1))
    limit = Steps((-2.55, 0.0))
    assert limit.holds(wanted, wanted)
    off = wanted.copy()
    off[:, 1] = -0.019
    assert limit.holds(off, wanted)
    off[:, 1] = -0.021
    assert not limit.holds(off, wanted)
    assert limit.holds(wanted + 9.0, wanted)
    single = wanted.copy()
    single[3, 0] = -0.029
    assert limit.holds(single, wanted)
    single[3, 0] = -0.031
    assert not limit.holds(single, wanted)
    assert Steps((-2.55, 0.0), single[None]).holds(single, wanted)
    assert not limit.holds(np.full_like(wanted, np.nan), wanted)
    assert not limit.holds(wanted[:, :1], wanted)
    overflown = np.array([[np.inf]])
    assert not Floats(0.1, overflown[None]).holds(overflown, overflown)
    assert Floats(0.1, np.array([[[1.05]], [[0.9]]])).allowed(np.array([[1.0]])) == pytest.approx(0.1 + 8 * 0.1)
    assert Floats(0.1).holds(np.array([[1.09]]), np.array([[1.0]])) and not Floats(0.1).holds(
        np.array([[1.11]]), np.array([[1.0]])
    )
