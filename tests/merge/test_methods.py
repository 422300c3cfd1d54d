"""Merge methods on networks of real digits' shape: what they own, and that they compute what the networks compute."""

from dataclasses import replace

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


def owned(net: MultitaskGraph, space: str) -> list[bool]:
    return [bool((net.owners[space] >> np.uint32(bit) & np.uint32(1)).any()) for bit in range(len(net.tasks))]


@pytest.mark.parametrize("method", ["pam", "pam-lattice", "random"])
@pytest.mark.parametrize("name", ["lenet", "resnet18", "small_mobilenet"])
def test_regrouping_obeys_the_rules(name: str, method: str) -> None:
    net = aligned(name, 3)
    merged = merge(method, net, calibration(net), samples=48, shared=0.3)
    masks = {int(mask) for space in merged.prunable for mask in np.unique(merged.owners[space])}
    assert method == "pam-lattice" or masks <= {0, 1, 2, 4, 7}
    assert all(all(owned(merged, space)) for space in merged.prunable)


def test_the_lattice_is_pam_for_two_tasks() -> None:
    net = aligned("lenet", 2)
    flat, lattice = (merge(method, net, calibration(net), samples=48) for method in ("pam", "pam-lattice"))
    assert all((flat.owners[space] == lattice.owners[space]).all() for space in net.prunable)


def test_random_has_the_groups_of_pam_and_other_members() -> None:
    net = aligned("vgg11", 3)
    given = calibration(net)
    # Wide layers, so that neither feeding nor tightening changes a group.
    chosen, drawn, again = (
        merge(method, net, given, samples=48, shared=0.0, rho=0.5) for method in ("pam", "random", "random")
    )
    other = merge("random", net, replace(given, seed=1), samples=48, shared=0.0, rho=0.5)
    spaces = net.prunable[-3:]
    for space in spaces:
        sizes = [np.bincount(merged.owners[space], minlength=8) for merged in (chosen, drawn)]
        assert np.abs(sizes[0] - sizes[1]).sum() <= 0.2 * sizes[0].sum(), space
    assert any((chosen.owners[space] != drawn.owners[space]).any() for space in spaces)
    assert any((other.owners[space] != drawn.owners[space]).any() for space in spaces)
    assert all((again.owners[space] == drawn.owners[space]).all() for space in spaces)


@pytest.mark.parametrize("kind", ["class", "binary", "real"])
@pytest.mark.parametrize("told", [True, False])
def test_pam_takes_targets_of_every_kind(kind: str, told: bool) -> None:
    net = aligned("lenet", 3)
    x = calibration(net).x
    answers = {task: output.numpy() for task, output in evaluate(net.graph, x).items()}
    labels: dict[str, np.ndarray] = {
        "class": {task: values.argmax(axis=1) for task, values in answers.items()},
        "binary": {task: np.where(values > 0, 1, -1) for task, values in answers.items()},
        "real": answers,
    }[kind]
    given = Calibration(x, dict.fromkeys(net.tasks, kind), labels if told else {})
    merged = merge("pam", net, given, samples=48, shared=0.0)
    by_answers = merge("pam", net, replace(given, labels=labels), samples=48, shared=0.0)
    assert all((merged.owners[space] == by_answers.owners[space]).all() for space in net.prunable)
    assert any(len(np.unique(merged.owners[space])) > 1 for space in net.prunable)


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
