"""Calibration and int8 arithmetic: ranges, shifts, and what a network computes with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pamc.errors import InternalError
from pamc.graph import Graph, all_task_sets
from pamc.graph.interpret import evaluate, run, tensors
from pamc.graph.ops import AvgPool, Concat, Conv, Flatten, Input, Linear, MaxPool, Softmax, Unflatten
from pamc.lower import Numerics, calibrate, lower, numerics_of
from pamc.lower.calibration import tied
from pamc.lower.numerics import folded, stored
from pamc.lower.quantized import quantized_params, quantized_values, rounded, step_of
from pamc.progress import QuietProgress
from tests.lower.nets import Sketch, batch, random_net, three_task_net
from tests.targets import ARM64

COPYING = (Concat, MaxPool, AvgPool, Flatten, Unflatten)


def numerics(net, count=40):
    return calibrate(net, batch(net, count), QuietProgress())


def values(graph: Graph, x):
    held = tensors(graph, torch.float64)
    with torch.no_grad():
        return run(graph, torch.as_tensor(x), lambda node, role: held[node.params[role]])


def test_ranges_are_what_was_seen_over_all_samples():
    net = three_task_net()
    x = batch(net, 150)
    found = calibrate(net, x, QuietProgress()).ranges
    graph = folded(net).graph
    assert found.keys() == graph.by_name.keys()
    seen = values(graph, x)
    group = tied(graph)
    for node in graph.nodes:
        inside = [seen[name] for name, other in group.items() if other == group[node.name]]
        assert found[node.name][0] == pytest.approx(min(0.0, *(float(v.min()) for v in inside)), rel=1e-5, abs=1e-6)
        assert found[node.name][1] == pytest.approx(max(0.0, *(float(v.max()) for v in inside)), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_what_copies_has_the_range_of_what_it_reads(seed):
    net = random_net(seed)
    found = numerics(net).ranges
    for node in folded(net).graph.nodes:
        low, high = found[node.name]
        assert low <= 0 <= high
        if isinstance(node.op, COPYING):
            assert {found[name] for name in node.inputs} == {found[node.name]}


def test_ranges_that_an_operation_decides_are_not_measured():
    sketch = Sketch((2, 6, 6), dtype="uint8")
    made = {function: sketch.act(sketch.conv("x", 3), function) for function in ("sigmoid", "tanh", "relu")}
    pooled = sketch.plain("pool", MaxPool((2, 2), (2, 2)), made["sigmoid"])
    joined = sketch.plain("cat", Concat(), made["tanh"], made["relu"])
    ends = [sketch.linear(sketch.plain("flat", Flatten(), value), 3) for value in (pooled, joined)]
    soft, log = (sketch.plain("soft", Softmax(log=log), end) for log, end in zip((False, True), ends, strict=True))
    net = sketch.finish({"age": soft, "smile": log}, {})
    found = numerics(net).ranges
    assert found["x"] == (0.0, 1.0)
    assert step_of(found[made["sigmoid"]]) == step_of(found[pooled]) == step_of(found[soft]) == 1 / 256
    assert found[log] == (-255 / 16, 0.0)
    # Joined with a value of no limits, tanh is measured like that.
    assert found[made["tanh"]] == found[made["relu"]] == found[joined] != (-1.0, 127 / 128)


def test_the_same_samples_give_the_same_numerics():
    net = random_net(3)
    assert numerics(net) == numerics(net)
    assert numerics(net) != numerics(net, 20)


def test_only_int8_is_calibrated():
    net = random_net(1)
    for kind in ("float32", "float16"):
        assert numerics_of(kind, net, batch(net, 4), QuietProgress()) == Numerics(kind)
    assert numerics_of("int8", net, batch(net, 4), QuietProgress()).ranges
    with pytest.raises(ValueError, match="without samples"):
        calibrate(net, batch(net, 4)[:0], QuietProgress())


def test_shifts_take_back_what_rounding_does_to_the_mean():
    net = three_task_net()
    x = batch(net, 100)
    found = calibrate(net, x, QuietProgress())
    before, after = folded(net).graph, stored(folded(net), found).graph
    exact = values(before, x)
    off = {}
    for name, graph in (("without", before), ("with", after)):
        held = quantized_params(graph, found.ranges)
        for node in graph.nodes:
            if isinstance(node.op, Conv | Linear) and "bias" in node.params:
                read = rounded(exact[node.inputs[0]], found.ranges[node.inputs[0]])
                alone = Graph(
                    (replace(graph.input, op=Input(read.shape[1:])), replace(node, inputs=(graph.input.name,))),
                    {},
                    graph.params,
                )
                got = run(alone, read, lambda node, role, held=held: held[node.params[role]])[node.name]
                lost = (got - exact[node.name]).transpose(0, 1).flatten(1).mean(1).abs().max()
                off[name] = max(off.get(name, 0.0), float(lost) / step_of(found.ranges[node.name]))
    assert off["without"] > 0.05
    assert off["with"] < 0.01 * off["without"] + 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_a_unit_computes_the_same_integers_in_every_task_set(seed):
    net = random_net(seed)
    found, x = numerics(net), batch(net, 4)
    graph = stored(folded(net), found).graph
    whole = quantized_values(graph, found.ranges, x)
    for plan in lower(net, list(all_task_sets(len(net.tasks))), ARM64, found).values():
        got = quantized_values(plan.graph, plan.ranges, x)
        for task, value in plan.graph.outputs.items():
            np.testing.assert_allclose(got[value], whole[graph.outputs[task]], rtol=1e-9, atol=1e-12)


def test_integers_done_by_hand():
    """A convolution and a ReLU with NumPy's integers, as Jacob et al. (2018), equation 7, write them."""
    sketch = Sketch((3, 5, 5), seed=4)
    conv = sketch.conv("x", 4)
    relu = sketch.act(conv, "relu")
    graph = Graph(tuple(sketch.nodes), {"a": relu}, sketch.params)
    x = np.random.default_rng(5).normal(size=(2, 3, 5, 5))
    bounds = {"x": (-2.5, 3.0), conv: (-9.0, 9.0), relu: (0.0, 4.0)}
    steps = {name: (high - low) / 255 for name, (low, high) in bounds.items()}
    zeros = {name: round(-128 - low / steps[name]) for name, (low, _) in bounds.items()}
    read = np.clip(np.rint(x / steps["x"]) + zeros["x"], -128, 127).astype(np.int64) - zeros["x"]
    padded = np.pad(read, ((0, 0), (0, 0), (1, 1), (1, 1)))
    weight, bias = (graph.array(graph.by_name[conv], role).astype(np.float64) for role in ("weight", "bias"))
    scale = np.abs(weight).reshape(4, -1).max(1) / 127
    numbers = np.rint(weight / scale[:, None, None, None]).astype(np.int64)
    total = np.rint(bias / (scale * steps["x"])).astype(np.int64)[None, :, None, None] + sum(
        np.einsum("oi,nihw->nohw", numbers[:, :, i, j], padded[:, :, i : i + 5, j : j + 5])
        for i in range(3)
        for j in range(3)
    )
    real = total * (scale * steps["x"])[None, :, None, None]
    wanted = (np.clip(np.rint(real / steps[relu]) + zeros[relu], -128, 127) - zeros[relu]) * steps[relu]
    # Read once more: outputs that nothing reads are not rounded.
    nodes = (*graph.nodes, replace(graph.by_name[relu], name="end", op=MaxPool((1, 1)), inputs=(relu,)))
    found = quantized_values(Graph(nodes, {"a": "end"}, graph.params), {**bounds, "end": bounds[relu]}, x)
    np.testing.assert_allclose(found[relu], wanted, rtol=0, atol=1e-12)


def test_float16_rounds_parameters_and_nothing_else():
    net = three_task_net()
    (plan,) = lower(net, [net.everyone], ARM64, Numerics("float16")).values()
    (exact,) = lower(net, [net.everyone], ARM64).values()
    assert plan.kind == "float16" and not plan.ranges
    for key, array in plan.graph.params.items():
        np.testing.assert_array_equal(array, exact.graph.params[key].astype(np.float16).astype(np.float32))
    x = batch(net, 8)
    for task, found in evaluate(plan.graph, x).items():
        assert 0 < (found - evaluate(exact.graph, x)[task]).abs().max() < 0.01 * found.abs().max()


@pytest.mark.parametrize("shifts", [{"nobody": (0.0,)}, {"x": (0.0,)}, {"conv0": (0.0,)}])
def test_shifts_of_another_network_are_refused(shifts):
    net = three_task_net()
    with pytest.raises(InternalError, match="fits no layer of the network"):
        stored(folded(net), Numerics("int8", {}, shifts))
