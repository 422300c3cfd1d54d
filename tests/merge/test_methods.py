"""Merge methods on networks of real digits' shape: what they own, and that they compute what the networks compute."""

import numpy as np
import pytest
import torch

from pamc.graph import MultitaskGraph, cost, verify_multitask
from pamc.graph.interpret import evaluate
from pamc.merge import METHODS, Calibration
from tests.zoo import NETWORKS
from tests.zoo.captured import aligned, captured

CLASSES = {"a": 3, "b": 4, "c": 5}


def calibration(net: MultitaskGraph, labels: bool = True, count: int = 48) -> Calibration:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(count, *net.graph.shapes[net.graph.input.name])).astype(np.float32)
    values = {task: rng.integers(0, classes, count) for task, classes in CLASSES.items() if task in net.tasks}
    return Calibration(x, dict.fromkeys(net.tasks, "class"), values if labels else {})


def merge(method: str, net: MultitaskGraph, given: Calibration, **options: object) -> MultitaskGraph:
    entry = METHODS.get(method)
    return verify_multitask(entry.function(net, given, METHODS.parse_options(method, options)), method)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("method", ["separate", "concat"])
def test_merging_without_cross_links_changes_no_logit(name: str, method: str) -> None:
    net = aligned(name, 3)
    merged = merge(method, net, calibration(net))
    x = np.random.default_rng(1).normal(size=(3, *NETWORKS[name].shape))
    found = evaluate(merged.graph, x, dtype=torch.float64)
    for index, task in enumerate(net.tasks):
        with torch.no_grad():
            wanted = captured(name, index)[0](torch.tensor(x))
        torch.testing.assert_close(found[task], wanted, rtol=1e-12, atol=1e-12)


def test_separate_costs_the_sum_of_the_networks() -> None:
    net = aligned("lenet", 3)
    parts = [cost(net, 1 << bit) for bit in range(3)]
    assert cost(net, 7).macs == sum(part.macs for part in parts)
    assert cost(net, 7).params == sum(part.params for part in parts)


def test_concat_shares_all_but_the_heads() -> None:
    net = aligned("lenet", 3)
    merged = merge("concat", net, calibration(net))
    assert all((merged.owners[space] == 7).all() for space in merged.prunable)
    assert cost(merged, 1).macs > cost(net, 1).macs


@pytest.mark.parametrize("groups", ["flat", "lattice"])
@pytest.mark.parametrize("name", ["lenet", "resnet18", "small_mobilenet"])
def test_pam_obeys_the_rules(name: str, groups: str) -> None:
    net = aligned(name, 3)
    merged = merge("pam", net, calibration(net), groups=groups, samples=48, shared=0.3)
    masks = {int(mask) for space in merged.prunable for mask in np.unique(merged.owners[space])}
    assert groups == "lattice" or masks <= {0, 1, 2, 4, 7}
    for space in merged.prunable:
        for bit in range(3):
            assert (merged.owners[space] >> np.uint32(bit) & np.uint32(1)).any(), (space, bit)


def test_pam_keeps_what_the_rule_allows_and_loses_only_what_it_forbids() -> None:
    """Trap of the published code: rows sliced in another order than they are concatenated."""
    net = aligned("lenet", 3)
    merged = merge("pam", net, calibration(net), samples=48)
    for node in net.graph.nodes:
        mask = merged.mask(node)
        if mask is not None:
            before, after = net.graph.array(node, "weight"), merged.graph.array(node, "weight")
            shaped = np.broadcast_to(mask.reshape(*mask.shape, *(1,) * (before.ndim - 2)), before.shape)
            assert (after[shaped] == before[shaped]).all()
            assert (after[~shaped] == 0).all()


def test_pam_without_labels_uses_the_networks_answers() -> None:
    net = aligned("lenet", 3)
    given = calibration(net, labels=False)
    answers = {task: output.numpy().argmax(axis=1) for task, output in evaluate(net.graph, given.x).items()}
    told = Calibration(given.x, given.kinds, answers)
    without = merge("pam", net, given, samples=48)
    assert all((merge("pam", net, told, samples=48).owners[s] == without.owners[s]).all() for s in net.prunable)


def test_pam_looks_only_at_its_samples() -> None:
    net = aligned("lenet", 3)
    given = calibration(net)
    changed = Calibration(
        np.concatenate([given.x[:32], given.x[32:] * 100]),
        given.kinds,
        {task: np.concatenate([values[:32], values[32:][::-1]]) for task, values in given.labels.items()},
    )
    first = merge("pam", net, given, samples=32)
    assert all((merge("pam", net, changed, samples=32).owners[s] == first.owners[s]).all() for s in net.prunable)
