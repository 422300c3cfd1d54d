"""The networks of the suites and the controls made of them."""

import numpy as np
import pytest
import torch

from benchmarks.suites.paper import nets
from benchmarks.suites.paper.controls import fresh, hard_sharing
from pamc.capture import align, capture
from pamc.graph import MultitaskGraph, cost, verify_multitask
from pamc.graph.interpret import evaluate


def separate(name: str, shape: tuple[int, ...], **options: object) -> MultitaskGraph:
    graphs = {
        task: capture(task, nets.make(name, shape, outputs, options, seed).eval(), shape)
        for seed, (task, outputs) in enumerate({"a": 3, "b": 5}.items())
    }
    return align(graphs)


def test_lenet_of_the_paper_has_its_published_flops() -> None:
    graph = capture("a", nets.make("lenet-same", (1, 124, 496), 5, {}, 0).eval(), (1, 124, 496))
    assert cost(align({"a": graph}), 1).flops / 1e6 == pytest.approx(106.42, abs=0.005)


def test_resnet_20_has_its_published_size() -> None:
    # He et al. 2016, table 6: 0.27 M parameters (ours has convolutions in its two shortcuts).
    net = nets.make("resnet", (3, 32, 32), 10, {}, 0)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(0.27, abs=0.005)
    assert sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules()) == 19


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (nets.make("vgg", (3, 32, 32), 4, {"width": 4}, seed) for seed in (1, 1, 2))
    states = [torch.cat([p.flatten() for p in net.parameters()]) for net in (first, again, other)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ["lenet", "vgg", "resnet"])
def test_hard_sharing_costs_what_is_asked_for(name: str) -> None:
    options = {} if name == "lenet" else {"width": 4}
    net = separate(name, (1, 28, 28), **options)
    whole = cost(net, net.everyone).macs
    for share in (0.2, 0.5):
        made = verify_multitask(hard_sharing(net, round(share * whole)), "hard sharing")
        found = cost(made, made.everyone).macs
        assert 0.9 * share * whole <= found <= share * whole
        assert all((made.owners[space] == made.everyone).all() for space in made.prunable)


def test_fresh_weights_follow_he_et_al() -> None:
    net = separate("lenet", (1, 28, 28))
    made = fresh(net, 0)
    large = [
        node for node in made.graph.nodes if "weight" in node.params and made.graph.array(node, "weight").size > 5000
    ]
    assert len(large) == 3
    for node in large:
        mask, weight = made.mask(node), made.graph.array(node, "weight")
        assert mask is not None and mask.mean() == 0.5
        fan = mask.sum(axis=1)[0] * np.prod(weight.shape[2:])
        assert weight[mask].std() == pytest.approx(np.sqrt(2 / fan), rel=0.05)


def test_fresh_keeps_the_structure_but_no_weight() -> None:
    net = separate("resnet", (1, 28, 28), width=4, blocks=1)
    made = verify_multitask(fresh(net, 3), "fresh")
    assert {name: list(owners) for name, owners in made.owners.items()} == {n: list(o) for n, o in net.owners.items()}
    for node in made.graph.nodes:
        if "weight" in node.params:
            assert not np.array_equal(made.graph.array(node, "weight"), net.graph.array(node, "weight"))
    # Forbidden links are still empty: changing one network changes nothing in the other's output.
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)
    assert all(np.isfinite(output.numpy()).all() for output in evaluate(made.graph, x).values())
    assert np.array_equal(
        fresh(net, 3).graph.array(made.graph.nodes[-1], "weight"), made.graph.array(made.graph.nodes[-1], "weight")
    )
