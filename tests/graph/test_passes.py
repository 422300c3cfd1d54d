"""Folding, serialisation, text."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from pamc.errors import OutputError
from pamc.graph import fold_batch_norm, render_multitask, verify
from pamc.graph.interpret import evaluate
from pamc.graph.ops import BatchNorm, ChannelAffine
from pamc.graph.serial import dump, load
from tests.zoo.captured import aligned, captured, images, random_owners, relative_error
from tests.zoo.handmade import Maker


@pytest.mark.parametrize("name", ["small_resnet", "small_mobilenet", "densenet"])
def test_folding_keeps_the_function(name: str) -> None:
    graph = captured(name, 0)[1]
    folded = verify(fold_batch_norm(graph), "folding")
    assert not any(isinstance(node.op, BatchNorm) for node in folded.nodes)
    # A norm that comes first or is not alone in reading its layer stays, as an affine map.
    assert any(isinstance(node.op, ChannelAffine) for node in folded.nodes) == (name == "densenet")
    x = images(graph)
    before, after = (evaluate(item, x, dtype=torch.float64)["a"] for item in (graph, folded))
    assert relative_error(after, before) < 1e-5


def test_norm_beside_another_reader_is_not_folded() -> None:
    make = Maker()
    layer = make.conv("conv", "input", 4)
    graph = make.end("t", make.join("add", make.norm("norm", layer), layer))
    folded = fold_batch_norm(graph)
    assert isinstance(folded.by_name["norm"].op, ChannelAffine)
    assert np.array_equal(folded.params["conv.weight"], graph.params["conv.weight"])
    x = images(graph)
    before, after = (evaluate(item, x, dtype=torch.float64)["t"] for item in (graph, folded))
    assert relative_error(after, before) < 1e-6


@pytest.mark.parametrize("name", ["lenet", "small_resnet", "squeezenet", "small_mobilenet"])
def test_serial_round_trip(name: str) -> None:
    net = random_owners(aligned(name, 2), 1)
    text, arrays = dump(net)
    again = load(text, arrays)
    assert again.tasks == net.tasks and again.graph.nodes == net.graph.nodes
    assert dict(again.graph.outputs) == dict(net.graph.outputs)
    assert again.graph.params.keys() == net.graph.params.keys()
    for key, array in net.graph.params.items():
        assert np.array_equal(again.graph.params[key], array) and again.graph.params[key].dtype == array.dtype
    assert all(np.array_equal(again.owners[space], vector) for space, vector in net.owners.items())
    assert dump(again) == (text, arrays)
    backwards = replace(net.graph, params=dict(reversed(net.graph.params.items())))
    assert dump(replace(net, graph=backwards, owners=dict(net.owners))) == (text, arrays)


def damaged(change: Callable[[dict[str, object]], object]) -> tuple[str, bytes]:
    text, arrays = dump(aligned("lenet", 2))
    data = json.loads(text)
    change(data)
    return json.dumps(data), arrays


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(format_version=99),
        lambda data: data.pop("tasks"),
        lambda data: data["nodes"][1]["op"].update(kind="unheard"),
        lambda data: data["nodes"][1]["op"].update(unheard=1),
        lambda data: data["nodes"][1]["params"].update(weight="unheard"),
        lambda data: data["spaces"].append("unheard"),
    ],
)
def test_damaged_structure(change: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(OutputError):
        load(*damaged(change))


def test_damaged_files() -> None:
    text, arrays = dump(aligned("lenet", 2))
    for bad in ((text[:-20], arrays), ("", arrays), (text, arrays[:-1]), (text, b"")):
        with pytest.raises(OutputError):
            load(*bad)


def test_text_of_a_multitask_graph(golden: Callable[[str, str], None]) -> None:
    net = aligned("small_resnet", 2)
    vector = np.array([1, 2, 3, 3, 0, 0, 1, 1], dtype=np.uint32)
    golden("small_resnet_two_tasks.txt", render_multitask(net.with_owners({"conv1": vector})))
