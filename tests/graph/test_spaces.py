"""Channel spaces against expectations derived by hand."""

import pytest

from pamc.graph import Graph
from pamc.graph.ops import Linear, ShapeError
from pamc.graph.spaces import Link, Segment
from tests.zoo.captured import captured
from tests.zoo.handmade import Maker


def test_residual_network() -> None:
    spaces = captured("small_resnet", 0)[1].spaces
    # layer1 adds to the stem's output; layer2's strided shortcut makes a space of its own.
    assert dict(spaces.producers) == {
        "input": ("input",),
        "conv1": ("conv1", "layer1.0.conv2"),
        "layer1.0.conv1": ("layer1.0.conv1",),
        "layer2.0.conv1": ("layer2.0.conv1",),
        "layer2.0.conv2": ("layer2.0.conv2", "layer2.0.downsample.0"),
        "fc": ("fc",),
    }
    assert dict(spaces.sizes) == {
        "input": 3,
        "conv1": 4,
        "layer1.0.conv1": 4,
        "layer2.0.conv1": 8,
        "layer2.0.conv2": 8,
        "fc": 3,
    }
    assert spaces.fixed == {"input", "fc"}
    assert [link.reader for link in spaces.readers["conv1"]] == [
        "layer1.0.conv1",
        "layer2.0.conv1",
        "layer2.0.downsample.0",
    ]
    assert spaces.space_of("layer1.0.relu_2") == "conv1"
    assert spaces.readers["layer2.0.conv2"] == (Link("fc", 0, 1),)


def test_mobilenet() -> None:
    spaces = captured("small_mobilenet", 0)[1].spaces
    # stem 4 | block 1: filter in the stem's space, narrow to 2 | block 2: widen to 6, narrow to 4 |
    # block 3: widen to 12, narrow to 4 and add | last 1x1 to 16 | head 3. A depthwise convolution makes no space.
    assert dict(spaces.producers) == {
        "input": ("input",),
        "features.0.0": ("features.0.0",),
        "features.1.conv.1": ("features.1.conv.1",),
        "features.2.conv.0.0": ("features.2.conv.0.0",),
        "features.2.conv.2": ("features.2.conv.2", "features.3.conv.2"),
        "features.3.conv.0.0": ("features.3.conv.0.0",),
        "features.4.0": ("features.4.0",),
        "classifier.1": ("classifier.1",),
    }
    assert list(spaces.sizes.values()) == [3, 4, 2, 6, 4, 12, 16, 3]
    assert spaces.space_of("features.1.conv.0.0") == "features.0.0"
    assert spaces.fixed == {"input", "classifier.1"}


def test_flattening_repeats_units_and_concatenation_lines_up_spaces() -> None:
    make = Maker((2, 2, 3))
    one, two = make.conv("one", "input", 4), make.conv("two", "input", 5)
    graph = make.end("t", make.conv("last", make.concat("concat", two, one, two), 2))
    assert graph.spaces.layouts["concat"] == (Segment("two"), Segment("one"), Segment("two"))
    assert graph.spaces.readers["two"] == (Link("last", 0, 1), Link("last", 9, 1))
    assert graph.spaces.readers["one"] == (Link("last", 5, 1),)

    make = Maker((2, 2, 3))
    flat = make.flatten("flatten", make.concat("concat", make.conv("one", "input", 4), make.conv("two", "input", 5)))
    head = make.add("fc", Linear(), flat, units=2)
    spaces = Graph(tuple(make.nodes), {"t": head}, make.params).spaces
    assert spaces.layouts["flatten"] == (Segment("one", 6), Segment("two", 6))
    assert spaces.readers["two"] == (Link("fc", 4 * 6, 6),)


def test_gate_ties_its_factor() -> None:
    spaces = captured("se_resnet", 0)[1].spaces
    assert spaces.space_of("layer1.0.gate.expand") == spaces.space_of("layer1.0.conv2") == spaces.space_of("conv1")
    assert spaces.space_of("layer1.1.gate.expand") == spaces.space_of("conv1")
    assert spaces.space_of("layer1.0.gate.reduce") == "layer1.0.gate.reduce"


def test_sum_of_differently_split_values_is_refused() -> None:
    make = Maker()
    both = make.concat("concat", make.conv("one", "input", 2), make.conv("two", "input", 2))
    value = make.join("add", both, make.conv("three", "input", 4))
    with pytest.raises(ShapeError, match="split differently"):
        _ = Graph(tuple(make.nodes), {"t": value}, make.params).spaces
