"""Zipping of whole networks: what is paired, what becomes equal, and what stays so in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pamc.capture import align
from pamc.graph import Graph, MultitaskGraph, cost, take, verify_multitask
from pamc.graph.interpret import evaluate
from pamc.graph.ops import BatchNorm
from pamc.merge import METHODS, Calibration
from pamc.merge.fusing import fuse
from pamc.merge.joining import tied
from pamc.merge.layers import measured
from pamc.merge.methods.branch import trunk
from pamc.merge.zipping import start, zip_space
from pamc.progress import QuietProgress
from pamc.train import Recipe, Samples, Target, fit, predict
from tests.zoo import NETWORKS
from tests.zoo.captured import aligned, captured, images, relative_error


def side_by_side(*names: str) -> MultitaskGraph:
    """Networks of the zoo, one per task, which may differ."""
    return align({task: captured(name, index)[1] for index, (task, name) in enumerate(zip("abc", names, strict=False))})


def calibration(net: MultitaskGraph, count: int = 32) -> Calibration:
    return Calibration(images(net.graph, count, dtype=torch.float32).numpy(), dict.fromkeys(net.tasks, "class"))


def merge(method: str, net: MultitaskGraph, given: Calibration | None = None, **options: object) -> MultitaskGraph:
    entry = METHODS.get(method)
    given = given or calibration(net)
    return verify_multitask(entry.function(net, given, METHODS.parse_options(method, options)), method)


def permuted(graph: Graph, seed: int) -> Graph:
    """The same function with the units of every space in another order."""
    rng = np.random.default_rng(seed)
    spaces = graph.spaces
    return take(graph, {space: rng.permutation(spaces.sizes[space]) for space in set(spaces.sizes) - spaces.fixed})


def agreement(one: MultitaskGraph, other: MultitaskGraph) -> float:
    x = images(one.graph)
    mine, wanted = (evaluate(net.graph, x, dtype=torch.float64) for net in (one, other))
    return max(relative_error(mine[task], wanted[task]) for task in wanted)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"resnet50", "mobilenet_v2"}))
def test_networks_that_differ_in_the_order_of_units_become_one_of_them(name: str) -> None:
    graph = captured(name, 0)[1]
    net = align({"a": graph, "b": permuted(graph, 1), "c": permuted(graph, 2)})
    merged = merge("mtz", net)
    assert all(set(merged.owners[space].tolist()) <= {0, 7} for space in merged.prunable)
    assert cost(merged, 1).macs == cost(net, 1).macs
    assert agreement(merged, net) < 1e-5


@pytest.mark.parametrize(
    ("names", "share"),
    [
        (("lenet", "lenet"), 0.5),
        (("densenet",) * 3, 1.0),
        (("small_resnet",) * 3, 1.0),
        (("small_mobilenet",) * 3, 1.0),
        (("mobilefacenet",) * 2, 0.7),
        (("resnet18", "small_resnet", "resnet18"), 1.0),
    ],
)
def test_paired_units_stay_equal_in_training_and_become_one_without_loss(names: tuple[str, ...], share: float) -> None:
    net = side_by_side(*names)
    x = images(net.graph, 32, dtype=torch.float32).numpy()
    state = start(net, x)
    for space in net.prunable:
        state = zip_space(state, space, share)
    targets = [Target(task, "accuracy", "cross_entropy") for task in net.tasks]
    samples = Samples(x, {}, predict(net, x))
    trained = fit(state.net, samples, targets, Recipe(5, 16), QuietProgress(), on_gradient=tied(state.ties))
    assert agreement(trained, state.net) > 1e-3
    assert agreement(fuse(replace(state, net=trained)), trained) < 1e-4


def test_every_space_shares_as_many_units_as_asked() -> None:
    net = aligned("vgg11", 2)
    merged = merge("mtz", net, share=0.5)
    for space in net.prunable:
        assert (merged.owners[space] == 3).sum() == round(0.5 * net.spaces.sizes[space] / 2)


def test_of_unequal_widths_the_rest_stays_exclusive() -> None:
    net = align({"a": captured("lenet", 0)[1], "b": captured("lenet", 1, wider=2)[1]})
    merged = merge("mtz", net)
    for space in merged.prunable:
        counts = [int((merged.owners[space] == mask).sum()) for mask in (1, 2, 3)]
        narrow = int((net.owners[space] == 1).sum())
        assert counts == [0, net.spaces.sizes[space] - 2 * narrow, narrow]


@pytest.mark.parametrize(
    "names", [("resnet18", "small_resnet", "resnet18"), ("se_resnet", "resnet18", "se_resnet"), ("vgg11", "vgg16_bn")]
)
@pytest.mark.parametrize("method", ["mtz", "branch"])
def test_networks_that_diverge_share_what_they_have_in_common(method: str, names: tuple[str, ...]) -> None:
    net = side_by_side(*names)
    merged = merge(method, net)
    assert cost(merged, net.everyone).macs <= cost(net, net.everyone).macs
    for bit in range(len(names)):
        assert cost(merged, 1 << bit).macs <= cost(net, 1 << bit).macs


@pytest.mark.parametrize("name", ["vgg16_bn", "small_mobilenet"])
def test_norms_of_merged_units_hold_the_statistics_of_what_they_read(name: str) -> None:
    net = aligned(name, 2)
    x = images(net.graph, 16, dtype=torch.float32).numpy()
    state = start(net, x)
    for space in net.prunable:
        state = zip_space(state, space, 1.0)
    graph = state.net.graph
    for node in graph.nodes:
        if isinstance(node.op, BatchNorm):
            mean, var = measured(graph, node.inputs[0], x)
            np.testing.assert_allclose(graph.array(node, "mean"), mean, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(graph.array(node, "var"), var, rtol=1e-3, atol=1e-4)


def test_training_after_each_layer_repairs_what_zipping_breaks() -> None:
    net = aligned("lenet", 2)
    x = images(net.graph, 128, dtype=torch.float32).numpy()
    teacher = predict(net, x)
    targets = [Target(task, "mse", "mse") for task in net.tasks]
    given = Calibration(x, dict.fromkeys(net.tasks, "real"), {}, train=Samples(x, {}, teacher), targets=targets)

    def error(merged: MultitaskGraph) -> float:
        answers = predict(merged, x)
        return sum(float(np.square(answers[task] - teacher[task]).mean()) for task in net.tasks)

    trained = merge("mtz", net, given, retrain=20)
    assert error(trained) < 0.5 * error(merge("mtz", net, given, retrain=0))
    again = merge("mtz", net, given, retrain=20)
    assert all((array == trained.graph.params[key]).all() for key, array in again.graph.params.items())


@pytest.mark.parametrize(("name", "depth"), [("vgg11", 0.5), ("resnet18", 0.5), ("lenet", 1.0), ("lenet", 0.0)])
def test_branch_shares_the_first_layers_alone(name: str, depth: float) -> None:
    net = aligned(name, 2)
    merged = merge("branch", net, depth=depth)
    count = round(depth * len(net.prunable))
    shared = {space for space in net.prunable if (merged.owners[space] == 3).any()}
    assert shared == set(trunk(net, count)) <= set(net.prunable[:count])
    assert bool(shared) == (count > 0)
    for space in shared:
        assert set(merged.owners[space].tolist()) == {0, 3}
    for space in set(net.prunable) - shared:
        assert (merged.owners[space] == net.owners[space]).all()


def test_a_residual_stage_is_shared_whole_or_not_at_all() -> None:
    net = aligned("resnet18", 2)
    for count in range(len(net.prunable) + 1):
        chosen = trunk(net, count)
        for space in chosen:
            for name in net.spaces.producers[space]:
                reads = {seg.space for seg in net.spaces.layouts[net.graph.by_name[name].inputs[0]]}
                assert reads <= {*chosen, net.graph.input.name}
