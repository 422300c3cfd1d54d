"""Magnitude and slimming: what units weigh, in tied layers too."""

import numpy as np
import pytest
import torch

from pamc.errors import ConfigError
from pamc.graph import MultitaskGraph, expected_macs
from pamc.graph.ops import BatchNorm
from pamc.progress import QuietProgress
from pamc.prune import METHODS, Budget
from pamc.prune.methods.magnitude import magnitudes
from pamc.prune.methods.slimming import Slimmer, SlimmingOptions, scales
from pamc.prune.weights import outgoing_shares
from pamc.train import Recipe, Target, fit
from tests.prune.nets import pruning, samples, separate, shared


def tied(net: MultitaskGraph) -> str:
    """The space with the most producers: a residual stream."""
    return max(net.prunable, key=lambda space: len(net.spaces.producers[space]))


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
def test_a_magnitude_is_the_norm_of_all_that_produces_the_unit(norm: str, order: int) -> None:
    net = shared(separate("small_resnet"))
    space = tied(net)
    assert len(net.spaces.producers[space]) > 1
    unit = 1
    found = magnitudes(net, norm)[space][-1]
    every = [net.graph.array(net.graph.by_name[name], "weight") for name in net.spaces.producers[space]]
    raw = [np.linalg.norm(np.concatenate([weight[u].ravel() for weight in every]), order) for u in range(len(found))]
    assert found[unit] / found[0] == pytest.approx(raw[unit] / raw[0], rel=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["lenet", "densenet"])
def test_a_release_takes_the_part_of_a_unit_that_its_task_sees(name: str) -> None:
    net = shared(separate(name))
    stakes = magnitudes(net, "l1")
    several = False
    for space, shares in outgoing_shares(net, 1).items():
        owned = np.stack([net.owners[space] >> np.uint32(task) & np.uint32(1) for task in range(3)]).astype(bool)
        assert (shares[~owned] == 0).all()
        # Units that feed nobody have no shares at all.
        total = shares.sum(axis=0)
        assert (shares <= 1).all() and ((total >= 1 - 1e-9) | (total == 0)).all()
        several |= bool((total > 1).any())
        np.testing.assert_allclose(stakes[space][:3], shares * stakes[space][-1])
    assert several


def test_a_scale_is_the_mean_over_the_norms_of_tied_layers() -> None:
    net = shared(separate("small_resnet"))
    space = tied(net)
    gammas = [
        net.graph.array(node, "gamma")
        for node in net.graph.nodes
        if isinstance(node.op, BatchNorm) and net.spaces.space_of(node.name) == space
    ]
    assert len(gammas) > 1
    np.testing.assert_allclose(scales(net)[space], np.mean(np.abs(gammas), axis=0), rtol=1e-6)


def test_norms_over_a_concatenation_count_for_each_of_its_spaces() -> None:
    net = shared(separate("densenet"))
    found = scales(net)
    gamma = {}
    for node in net.graph.nodes:
        if isinstance(node.op, BatchNorm):
            start = 0
            for seg in net.spaces.layouts[node.name]:
                size = net.spaces.sizes[seg.space]
                gamma.setdefault(seg.space, []).append(net.graph.array(node, "gamma")[start : start + size])
                start += size
    assert max(map(len, gamma.values())) > 1
    for space in net.prunable:
        np.testing.assert_allclose(found[space], np.mean(np.abs(gamma[space]), axis=0), rtol=1e-6)


def test_the_penalty_is_that_of_the_paper_and_shrinks_scales() -> None:
    net = separate("small_resnet", 2)
    held = {key: torch.tensor(array) for key, array in net.graph.params.items()}
    wanted = sum(np.abs(net.graph.array(node, "gamma")).sum() for node in net.graph.nodes if "gamma" in node.params)
    assert float(Slimmer(net, 0.5).penalty(held.__getitem__)) == pytest.approx(0.5 * wanted, rel=1e-5)
    targets = [Target(task, "accuracy", "cross_entropy") for task in net.tasks]
    sums = {}
    for l1 in (0.0, 0.1):
        trained = fit(net, samples(net), targets, Recipe(20, 32), QuietProgress(), regulariser=Slimmer(net, l1))
        sums[l1] = sum(float(vector.sum()) for vector in scales(trained).values())
    assert sums[0.1] < sums[0.0] - 0.5


def test_slimming_says_which_layer_has_no_norm() -> None:
    net = separate()
    given = pruning(net, Budget(1e5, {}))
    with pytest.raises(ConfigError, match="'conv1' has none") as error:
        METHODS.get("slimming").function(net, given, SlimmingOptions())
    assert "another pruner" in str(error.value)
    with pytest.raises(ValueError, match="l1"):
        SlimmingOptions(l1=-1)


@pytest.mark.parametrize("method", ["magnitude", "slimming"])
def test_units_that_weigh_least_go_first(method: str) -> None:
    net = separate("small_resnet", 2)
    params = {key: np.array(array) for key, array in net.graph.params.items()}
    light = {}
    for node in net.graph.nodes:
        role = "gamma" if method == "slimming" else "weight"
        if role in node.params and len(net.spaces.layouts[node.name]) == 1:
            space = net.spaces.space_of(node.name)
            if space in net.prunable:
                light[space] = np.arange(net.spaces.sizes[space]) % 4 == 1
                params[node.params[role]][light[space]] *= 1e-3
    net = net.with_params(params)
    budget = Budget(0.85 * expected_macs(net, {3: 1.0}), {})
    options = METHODS.parse_options(method, {"recover": 1, "warmup": 0, "epochs": 0, "step": 0.2, "exponent": 0.0})
    small = METHODS.get(method).function(net, pruning(net, budget, workload={3: 1.0}), options)
    left = magnitudes(small, "l1") if method == "magnitude" else {s: v[None] for s, v in scales(small).items()}
    gone = sum(net.spaces.sizes[space] - small.spaces.sizes[space] for space in net.prunable)
    still = sum(int((left[space][-1] < 0.05 * left[space][-1].max()).sum()) for space in net.prunable)
    assert gone >= 4
    assert gone + still == sum(int(vector.sum()) for vector in light.values())
