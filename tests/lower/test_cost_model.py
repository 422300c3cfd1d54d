from dataclasses import replace

import pytest

from pamc.graph import Graph
from pamc.graph.ops import Add, Concat, Conv, GlobalAvgPool, Input, Linear
from pamc.lower import load_target
from pamc.lower.cost_model import Costs, Kernels, amounts, in_place_adds, price_names, seconds, total_amounts
from tests.lower.costing import KERNELS, costs
from tests.lower.nets import Sketch

CONV = Conv((3, 3), padding=(1, 1))


def graph_of(sketch: Sketch, **outputs: str) -> Graph:
    return Graph(tuple(sketch.nodes), outputs, sketch.params)


def test_passes_are_whole_but_for_the_last():
    kernels = replace(KERNELS, tile=16, tiles=4)
    assert kernels.passes(16) == {1: 1}
    assert kernels.passes(17) == {2: 1}
    assert kernels.passes(64) == {4: 1}
    assert kernels.passes(144) == {4: 2, 1: 1}


def test_without_narrow_tails_only_a_sole_pass_may_be_narrow():
    kernels = replace(KERNELS, tile=16, tiles=2, narrow_tail=False)
    assert kernels.passes(16) == {1: 1}
    assert kernels.passes(33) == {2: 2}


def test_a_convolution_takes_passes_over_rounded_channels_rows_and_borders():
    kernels = replace(KERNELS, read_tile=16)
    # 12 units are 3 tiles: a pass of two and one of one, over 32 channels for the 17 that are read, 9 taps, 7 rows.
    taken = amounts(CONV, [(17, 7, 6)], (12, 7, 6), kernels)
    line = 32 * 9 * 7
    assert taken == {"layer": 1, "mac2": line * 6, "row2": line, "mac1": line * 6, "row1": line}
    assert amounts(CONV, [(17, 7, 6)], (12, 7, 6), kernels, cold=True)["weight"] == 17 * 9 * 12
    # Less than a tile is read as it is.
    assert amounts(CONV, [(3, 7, 6)], (4, 7, 6), kernels)["row1"] == 3 * 9 * 7


def test_a_pointwise_convolution_has_no_borders():
    assert "row1" not in amounts(Conv((1, 1)), [(4, 7, 7)], (4, 7, 7), KERNELS)


def test_a_runtime_that_unrolls_windows_does_so_once_however_many_channels_come_out():
    kernels = replace(KERNELS, unrolls=True)
    for units in (4, 64):
        assert amounts(CONV, [(3, 7, 6)], (units, 7, 6), kernels)["unroll"] == 3 * 9 * 7 * 6
    assert "unroll" not in amounts(Conv((1, 1)), [(3, 7, 6)], (4, 7, 6), kernels)
    assert "unroll" in price_names(kernels) and "unroll" not in price_names(KERNELS)


def test_other_operations_are_priced_by_what_they_move():
    assert amounts(Linear(), [(10,)], (3,), KERNELS) == {"layer": 1, "linear": 30}
    assert amounts(Concat(), [], (8, 2, 2), KERNELS) == {"op": 1, "copy": 32}
    assert amounts(GlobalAvgPool(), [(8, 4, 4)], (8, 1, 1), KERNELS) == {"op": 1, "pool": 128}
    assert amounts(Add(), [], (8, 2, 2), KERNELS) == {"op": 1, "elementwise": 32}
    assert amounts(Add(), [], (8, 2, 2), KERNELS, in_place=True) == {"add": 32}
    assert amounts(Input((3, 4, 4)), [], (3, 4, 4), KERNELS) == {}


def test_a_relu_is_free_behind_a_layer_that_nobody_else_reads():
    sketch = Sketch((3, 6, 6))
    alone = sketch.act(sketch.conv("x", 4))
    read_twice = sketch.conv("x", 4)
    other = sketch.act(read_twice)
    dear = sketch.act(sketch.conv("x", 4), "gelu")
    both = sketch.plain("add", Add(), other, read_twice)
    graph = graph_of(sketch, a=alone, b=both, c=dear)
    taken = seconds(graph, costs(op=1.0))
    assert [taken[name] for name in (alone, other, dear)] == [0.0, 1.0, 1.0]


def test_additions_behind_a_convolution_are_in_place_where_the_runtime_can():
    sketch = Sketch((3, 6, 6))
    fused = sketch.plain("add", Add(), sketch.conv("x", 4), sketch.conv("x", 4))
    acts = [sketch.act(fused), sketch.act(fused, "gelu")]
    plain = sketch.plain("add", Add(), *acts)
    graph = graph_of(sketch, a=plain)
    assert in_place_adds(graph, KERNELS) == {fused}
    assert in_place_adds(graph, replace(KERNELS, adds_in_place=False)) == frozenset()


def test_weights_cost_time_only_when_they_outgrow_the_cache():
    sketch = Sketch((3, 6, 6))
    sketch.conv("x", 4)
    graph = graph_of(sketch, a=sketch.last)
    size = 4 * sum(array.size for array in graph.params.values())
    warm, cold = (replace(KERNELS, cache=cache) for cache in (size, size - 1))
    assert total_amounts(graph, warm)["weight"] == 0
    assert total_amounts(graph, cold)["weight"] == 4 * 3 * 9
    assert total_amounts(graph, warm)["inference"] == 1


def test_costs_survive_their_file_form():
    given = costs(layer=1e-6, mac1=2.5e-10)
    assert Costs.from_data(given.as_data()) == given


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("prices"),
        lambda data: data["prices"].pop("copy"),
        lambda data: data["prices"].update(copy=-1.0),
        lambda data: data["prices"].update(copy=float("nan")),
        lambda data: data["kernels"].update(tile=0),
        lambda data: data["kernels"].update(warp=1),
    ],
)
def test_broken_costs_are_refused(spoil):
    data = costs().as_data()
    spoil(data)
    with pytest.raises(ValueError, match=r"prices|costs|tile"):
        Costs.from_data(data)


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_measured_costs_say_how_and_prefer_wide_passes(runtime):
    measured = load_target("x86_64", runtime).costs
    assert measured is not None
    assert measured.runtime == runtime
    assert "thread CPU time" in measured.measured
    tiles = measured.kernels.tiles
    per_channel = [measured.prices[f"mac{count}"] / count for count in range(1, tiles + 1)]
    assert per_channel[0] == max(per_channel)
    assert per_channel[0] > 1.2 * per_channel[-1]


def test_targets_that_nobody_measured_have_no_costs():
    assert load_target("armv7").costs is None
    assert set(price_names(Kernels(16, 16, 1, True, True, 1))) >= {"mac1", "row1"}
