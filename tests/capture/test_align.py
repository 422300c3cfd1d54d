"""Alignment where networks differ: prefixes, tails, ties, widths, inputs."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from pamc.capture import align, align_report
from pamc.errors import UnsupportedModelError
from pamc.graph import Graph, MultitaskGraph, all_task_sets, cost, select
from pamc.graph.cost import graph_macs, graph_params
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Activation
from tests.zoo.captured import images, random_owners, relative_error
from tests.zoo.handmade import Maker


def checked(graphs: Mapping[str, Graph]) -> MultitaskGraph:
    """Align, and hold the result against the networks: values, costs, selections."""
    net = align(graphs)
    x = images(net.graph)
    merged = evaluate(net.graph, x, dtype=torch.float64)
    requests = list(all_task_sets(len(graphs)))
    flat = select(net, requests)
    for task, graph in graphs.items():
        assert relative_error(merged[task], evaluate(graph, x, dtype=torch.float64)[task]) < 1e-12
    for request in requests:
        members = [graph for bit, graph in enumerate(graphs.values()) if request >> bit & 1]
        assert cost(net, request).macs == sum(map(graph_macs, members))
        assert cost(net, request).params == sum(map(graph_params, members))
        assert graph_macs(flat[request].graph) == cost(net, request).macs
        some = evaluate(flat[request].graph, x, dtype=torch.float64)
        assert all(relative_error(value, merged[task]) < 1e-12 for task, value in some.items())
    return net


def plain(task: str, depth: int, *, seed: int, width: int = 4, kernel: int = 3) -> Graph:
    make = Maker(seed=seed)
    value = "input"
    for index in range(depth):
        value = make.relu(f"relu{index}", make.conv(f"conv{index}", value, width + index, 3 if index else kernel))
    return make.end(task, value, 2 + seed)


def names(net: MultitaskGraph) -> set[str]:
    return {node.name for node in net.graph.nodes}


def test_widths_and_weights_lie_side_by_side() -> None:
    a, b = plain("a", 2, seed=0), plain("b", 2, seed=1, width=6)
    net = checked({"a": a, "b": b})
    assert net.spaces.sizes == {"input": 3, "conv0": 4 + 6, "conv1": 5 + 7, "a.head": 2, "b.head": 3}
    assert net.owners["conv0"].tolist() == [1] * 4 + [2] * 6
    assert net.owners["input"].tolist() == [3] * 3
    weight = net.graph.params["conv1.weight"]
    assert np.array_equal(weight[:5, :4], a.params["conv1.weight"])
    assert np.array_equal(weight[5:, 4:], b.params["conv1.weight"])
    assert not weight[:5, 4:].any() and not weight[5:, :4].any()


def test_longer_network_goes_on_alone() -> None:
    net = checked({"a": plain("a", 2, seed=0), "b": plain("b", 4, seed=1), "c": plain("c", 3, seed=2)})
    assert {"conv0", "conv1", "conv2", "b.conv3"} <= names(net)
    assert net.owners["conv1"].tolist() == [1] * 5 + [2] * 5 + [4] * 5
    assert net.owners["conv2"].tolist() == [2] * 6 + [4] * 6
    report = {
        item.task: item for item in align_report({"a": plain("a", 2, seed=0), "b": plain("b", 4, seed=1)}).networks
    }
    assert report["b"].shared == {("a",): 2, (): 3}
    assert report["b"].diverges is not None
    assert (report["b"].diverges.node, report["b"].diverges.op) == ("conv2", "conv")


def test_nothing_in_common_but_the_input() -> None:
    net = checked({"a": plain("a", 2, seed=0), "b": plain("b", 2, seed=1, kernel=5)})
    assert names(net) >= {"input", "a.conv0", "b.conv0"}


def residual(task: str, seed: int, blocks: int, *, tie: bool = True, width: int = 4) -> Graph:
    make = Maker(seed=seed)
    value = make.conv("stem", "input", width)
    for index in range(blocks):
        inner = make.relu(f"relu{index}", make.norm(f"norm{index}", value))
        branch = make.conv(f"conv{index}", inner, width if tie else width + 1)
        value = make.join(f"add{index}", branch, value) if tie else make.relu(f"act{index}", branch)
    return make.end(task, value, 2 + seed)


def test_residual_stream_of_different_depths_is_one_space() -> None:
    net = checked({"a": residual("a", 0, 1), "b": residual("b", 1, 3)})
    assert net.spaces.sizes["stem"] == 8
    assert net.spaces.producers["stem"] == ("stem", "conv0", "b.conv1", "b.conv2")
    # The layers that only b has compute nothing for the units of a.
    assert net.owners_out(net.graph.by_name["b.conv1"]).tolist() == [0] * 4 + [2] * 4
    assert net.owners_out(net.graph.by_name["conv0"]).tolist() == [1] * 4 + [2] * 4


def test_tail_that_ties_what_the_other_network_does_not() -> None:
    tied, loose = residual("a", 0, 2), residual("b", 1, 2, tie=False)
    net = checked({"a": tied, "b": loose})
    assert {"stem", "norm0", "relu0", "a.conv0", "b.conv0"} <= names(net)
    assert "conv0" not in names(net)
    assert net.spaces.space_of("stem") == net.spaces.space_of("a.conv0") != net.spaces.space_of("b.conv0")


def test_the_two_that_agree_stay_together() -> None:
    graphs = {
        "a": residual("a", 0, 2),
        "b": residual("b", 1, 2, tie=False),
        "c": residual("c", 2, 2, tie=False, width=3),
    }
    net = checked(graphs)
    assert len(net.spaces.sizes) > 3
    shared = {item.task: item.shared for item in align_report(graphs).networks}
    assert shared["b"] == {("a", "c"): 1, ("c",): 2, (): 1}
    assert shared["a"] == {("b", "c"): 1, (): 3}


def test_ties_through_layers_of_other_networks() -> None:
    """a ties p to x, c ties x to q; b has p and q in spaces of their own, and no x in between."""

    def network(task: str, seed: int, ties: list[tuple[str, str]], parts: list[str]) -> Graph:
        make = Maker(seed=seed)
        kernels = {"p": 1, "q": 3, "x": 5}
        values = {part: make.conv(part, "input", 4 if ties else 2 + kernels[part], kernels[part]) for part in parts}
        joined = [make.join(f"add{index}", values[one], values[two]) for index, (one, two) in enumerate(ties)]
        rest = [values[part] for part in parts if not any(part in pair for pair in ties)]
        return make.end(task, make.concat("concat", *joined, *rest))

    graphs = {
        "a": network("a", 0, [("p", "x")], ["p", "x", "q"]),
        "c": network("c", 1, [("x", "q")], ["p", "x", "q"]),
        "b": network("b", 2, [], ["p", "q"]),
    }
    checked(graphs)


def test_depthwise_of_one_network_only() -> None:
    def network(task: str, seed: int, filtered: bool) -> Graph:
        make = Maker(seed=seed)
        value = make.relu("relu", make.conv("conv", "input", 4))
        value = make.depthwise("filter", value) if filtered else value
        return make.end(task, make.conv("last", value, 5))

    net = checked({"a": network("a", 0, True), "b": network("b", 1, False)})
    assert net.owners_out(net.graph.by_name["a.filter"]).tolist() == [1] * 4 + [0] * 4


def test_concatenation_with_exclusive_parts() -> None:
    def network(task: str, seed: int, kernel: int) -> Graph:
        make = Maker(seed=seed)
        stem = make.conv("stem", "input", 4)
        side = make.conv("side", stem, 3, kernel)
        both = make.concat("concat", stem, side, "input")
        return make.end(task, make.conv("last", make.norm("norm", both), 5, 1))

    net = checked({"a": network("a", 0, 3), "b": network("b", 1, 5)})
    assert [seg.space for seg in net.spaces.layouts["a.concat"]] == ["stem", "a.side", "input"]
    net = checked({"a": network("a", 0, 3), "b": network("b", 1, 3)})
    assert [seg.space for seg in net.spaces.layouts["concat"]] == ["stem", "side", "input"]
    # Their norms differ on the image's channels, which are common.
    assert {"a.norm", "b.norm"} <= names(net)


def test_image_features_match_only_with_equal_constants() -> None:
    def network(task: str, seed: int) -> Graph:
        make = Maker(seed=seed)
        first = make.depthwise("sharpen", "input")
        make.generator = np.random.default_rng(9 + len(task))
        return make.end(task, make.conv("conv", first, 4))

    # Equal work on the image is done once, so the cost is below the sum.
    assert "sharpen" in names(align({"a": network("a", 0), "b": network("b", 0)}))
    assert {"a.sharpen", "b.sharpen"} <= names(checked({"a": network("a", 0), "b": network("b", 1)}))


def test_sums_match_in_either_order() -> None:
    def network(task: str, seed: int, swapped: bool) -> Graph:
        make = Maker(seed=seed)
        one = make.conv("one", "input", 4)
        two = make.conv("two", one, 4)
        return make.end(task, make.conv("last", make.join("add", *((two, one) if swapped else (one, two))), 4))

    assert {"add", "last"} <= names(checked({"a": network("a", 0, False), "b": network("b", 1, True)}))


def test_bias_of_one_network_only() -> None:
    def network(task: str, seed: int, bias: bool) -> Graph:
        make = Maker(seed=seed)
        return make.end(task, make.conv("last", make.conv("first", "input", 4, bias=bias), 4))

    assert {"a.first", "b.first"} <= names(checked({"a": network("a", 0, True), "b": network("b", 1, False)}))


def test_equal_layers_side_by_side_match_in_order() -> None:
    def network(task: str, seed: int, twins: int) -> Graph:
        make = Maker(seed=seed)
        branches = [make.conv(f"twin{index}", "input", 4) for index in range(twins)]
        return make.end(task, make.conv("last", make.concat("concat", *branches), 4))

    assert {"twin0", "twin1", "b.twin2"} <= names(checked({"a": network("a", 0, 2), "b": network("b", 1, 3)}))
    assert {"twin0", "twin1", "concat", "last"} <= names(checked({"a": network("a", 0, 2), "b": network("b", 1, 2)}))


def test_parameters_of_units_that_a_layer_does_not_compute_are_neutral() -> None:
    def network(task: str, seed: int, norm: bool) -> Graph:
        make = Maker(seed=seed)
        value = make.conv("conv", "input", 4)
        return make.end(task, make.conv("last", make.norm("norm", value) if norm else value, 4))

    net = checked({"a": network("a", 0, True), "b": network("b", 1, False)})
    for role, value in (("gamma", 1), ("beta", 0), ("mean", 0), ("var", 1)):
        assert (net.graph.params[f"a.norm.{role}"][4:] == value).all()


def test_names_stay_unique() -> None:
    def network(task: str, seed: int) -> Graph:
        make = Maker(seed=seed)
        return make.end(task, make.conv("last", make.conv("b.last", "input", 4), 4, 1 + 2 * seed))

    net = checked({"b": network("b", 0), "c": network("c", 1)})
    assert [node.name for node in net.graph.nodes[1:3]] == ["b.last", "b.last_2"]
    assert len(names(net)) == len(net.graph.nodes)


def test_diverging_networks_with_random_owners_keep_the_cost_exact() -> None:
    net = align({"a": residual("a", 0, 2), "b": residual("b", 1, 3), "c": plain("c", 2, seed=2)})
    x = images(net.graph)
    for seed in range(4):
        mixed = random_owners(net, seed)
        requests = list(all_task_sets(3))
        full = evaluate(mixed.graph, x, dtype=torch.float64)
        for request, selection in select(mixed, requests).items():
            assert graph_macs(selection.graph) == cost(mixed, request).macs
            for task, value in evaluate(selection.graph, x, dtype=torch.float64).items():
                assert relative_error(value, full[task]) < 1e-12


def test_different_inputs_are_all_reported() -> None:
    graphs = {"a": plain("a", 1, seed=0)}
    for task, shape in (("b", (3, 9, 9)), ("c", (1, 8, 8))):
        make = Maker(shape)
        graphs[task] = make.end(task, make.conv("conv", "input", 4))
    with pytest.raises(UnsupportedModelError) as caught:
        align(graphs)
    assert [(item.network, item.op) for item in caught.value.findings] == [("b", "input"), ("c", "input")]


def test_different_activations_diverge() -> None:
    def network(task: str, seed: int, function: str) -> Graph:
        make = Maker(seed=seed)
        return make.end(
            task, make.conv("last", make.add("act", Activation(function), make.conv("first", "input", 4)), 4)
        )

    net = checked({"a": network("a", 0, "relu"), "b": network("b", 1, "silu")})
    assert {"first", "a.act", "b.act", "a.last", "b.last"} <= names(net)
