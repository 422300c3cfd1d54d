"""Influence against exact ablation, twins by hand, and information about labels whose answer is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pamc.graph import Graph, MultitaskGraph, verify
from pamc.graph.interpret import run, tensors
from pamc.graph.ops import Linear
from pamc.merge import METHODS, Calibration
from pamc.merge.information import encode_labels, information
from pamc.redundancy.evidence import importance, influence, twins
from pamc.redundancy.knowledge import group_information, knowledge
from tests.redundancy.nets import samples
from tests.zoo.captured import aligned
from tests.zoo.handmade import Maker


def ablated(net: MultitaskGraph, x: np.ndarray, space: str) -> np.ndarray:
    """(tasks, units): mean squared change of the outputs when readers see a unit's mean over the samples instead."""
    held = tensors(net.graph)
    size = net.spaces.sizes[space]

    def outputs(unit: int | None) -> dict[str, Tensor]:
        def reading(name: str, value: Tensor) -> Tensor:
            value, start = value.clone(), 0
            for seg in net.spaces.layouts[name]:
                if seg.space == space and unit is not None:
                    columns = slice(start + unit * seg.block, start + (unit + 1) * seg.block)
                    value[:, columns] = value[:, columns].mean(dim=0, keepdim=True)
                start += net.spaces.sizes[seg.space] * seg.block
            return value

        with torch.no_grad():
            return run(net.graph, torch.as_tensor(x), lambda node, role: held[node.params[role]], reading=reading)

    whole = outputs(None)
    found = np.zeros((len(net.tasks), size))
    for unit in range(size):
        changed = outputs(unit)
        for row, task in enumerate(net.tasks):
            value = net.graph.outputs[task]
            found[row, unit] = (changed[value] - whole[value]).square().flatten(1).sum(dim=1).mean()
    return found


def test_influence_is_exact_for_a_linear_network_with_one_output() -> None:
    make = Maker((2, 4, 4))
    both = make.concat("concat", make.conv("one", "input", 3), make.depthwise("filter", make.conv("two", "input", 4)))
    last = make.conv("last", make.concat("twice", both, both), 5)
    flat = make.flatten("flatten", make.concat("all", last, make.conv("side", "input", 2)))
    head = make.add("head", Linear(), flat, units=1)
    graph = verify(Graph(tuple(make.nodes), {"t": head}, make.params), "the test")
    owners = {space: np.ones(size, np.uint32) for space, size in graph.spaces.sizes.items()}
    net = MultitaskGraph(("t",), graph, owners)
    x = np.random.default_rng(0).normal(size=(40, 2, 4, 4)).astype(np.float32)
    found = influence(net, x, 0)
    assert set(found) == {"one", "two", "last", "side"}
    for space, moved in found.items():
        np.testing.assert_allclose(moved, ablated(net, x, space), rtol=1e-4)


def test_samples_in_parts_give_the_mean_over_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Maker((2, 4, 4))
    graph = make.end("t", make.relu("relu", make.conv("one", "input", 5)), classes=1)
    net = MultitaskGraph(("t",), graph, {space: np.ones(size, np.uint32) for space, size in graph.spaces.sizes.items()})
    x = np.random.default_rng(0).normal(size=(40, 2, 4, 4)).astype(np.float32)
    thirty, ten = (influence(net, part, 0)["one"] for part in (x[:30], x[30:]))
    monkeypatch.setattr("pamc.graph.interpret.MOST_VALUES", 30 * sum(map(math.prod, graph.shapes.values())))
    np.testing.assert_allclose(influence(net, x, 0)["one"], (3 * thirty + ten) / 4)


@pytest.mark.parametrize(("name", "space"), [("lenet", "conv2"), ("lenet", "fc2"), ("small_resnet", "layer2.0.conv1")])
def test_influence_is_near_to_exact_ablation(name: str, space: str) -> None:
    net = aligned(name, 2)
    x = samples(net).x
    found, exact = influence(net, x, 0)[space], ablated(net, x, space)
    for task in range(2):
        own = net.owners[space] >> np.uint32(task) & np.uint32(1) == 1
        first, ablation = found[task, own], exact[task, own]
        assert np.corrcoef(first, ablation)[0, 1] > 0.9
        assert (ablation[first < 0.05 * first.mean()] < 0.1 * ablation.mean()).all()
        assert not found[task, ~own].any()


def test_importance_is_relative_to_the_units_that_a_task_owns() -> None:
    net = aligned("lenet", 2)
    shared = METHODS.get("concat").function(net, Calibration(samples(net).x, {}), None)
    for space, found in importance(shared, samples(net).x, 0).items():
        np.testing.assert_allclose(found.mean(axis=1), 1.0)
        # Twice the units with the same sum of influences: each counts twice as much.
        alone = importance(net, samples(net).x, 0)[space]
        np.testing.assert_allclose(found, 2 * alone, rtol=1e-5)


def test_twins_are_units_of_different_tasks_each_in_one_pair() -> None:
    #           0: a  1: a  2: b  3: b  4: a+b  5: dead
    owners = np.array([1, 1, 2, 2, 3, 0], np.uint32)
    alike = np.eye(6)
    for (one, other), value in {(0, 1): 1.0, (0, 2): 0.96, (0, 3): -0.99, (1, 2): 0.97, (2, 4): 1, (0, 5): 1}.items():
        alike[one, other] = alike[other, one] = value
    assert twins(alike, owners, 0.95) == [(0, 3, -0.99), (1, 2, 0.97)]
    assert twins(alike, owners, 0.98) == [(0, 3, -0.99)]


def test_a_group_of_one_unit_knows_what_the_unit_knows() -> None:
    rng = np.random.default_rng(0)
    units = rng.normal(size=(50, 4))
    for kind, values in {
        "class": rng.integers(0, 4, 50),
        "binary": np.where(rng.normal(size=(50, 3)) > 0, 1, -1),
        "real": rng.normal(size=(50, 2)),
    }.items():
        labels = encode_labels(values, kind)
        alone = [group_information(units[:, [unit]], [labels], 0.5)[0] for unit in range(4)]
        np.testing.assert_allclose(alone, information(units, labels, 0.5), atol=1e-10)
        # A copy of a unit moves points apart as half the variance does.
        twice = group_information(units[:, [0, 0]], [labels], 1.0)
        np.testing.assert_allclose(twice, alone[0], atol=1e-10)


def test_only_what_exceeds_chance_says_something() -> None:
    rng = np.random.default_rng(1)
    labels = encode_labels(rng.integers(0, 3, 200), "class")
    noise = rng.normal(size=(200, 30))
    known, chance, spread = knowledge(noise, labels, 3.0, seed=0)
    assert chance > 0.3 * labels.entropy, "the estimator is biased"
    assert abs(known - chance) < 4 * spread
    noise[:, 0] += 3 * labels.member[:, 0]
    known, chance, spread = knowledge(noise, labels, 3.0, seed=0)
    assert known - chance > 4 * spread
    assert knowledge(noise, labels, 3.0, seed=0) == (known, chance, spread)
