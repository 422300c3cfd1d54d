"""model.onnx: every task set in one file, by a mask of tasks."""

import numpy as np
import onnx
import onnxruntime
import pytest

from pamc.graph import all_task_sets
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Flatten
from pamc.lower import Numerics, load_target, lower
from pamc.lower.calibration import calibrate
from pamc.progress import QuietProgress
from pamc_exporters.onnx import exporter
from pamc_exporters.onnx.single import chosen_sets
from tests.lower.nets import TASKS, Sketch, batch, random_net, three_task_net

WIDTH = 24


def plans_of(net, numerics=None):
    found = lower(net, list(all_task_sets(len(net.tasks))), load_target("x86_64"), numerics or Numerics())
    return {plan.task_set: plan for plan in found.values()}


@pytest.fixture(scope="module")
def net():
    return three_task_net(WIDTH)


@pytest.fixture(scope="module")
def some(net, tmp_path_factory):
    """A folder with the networks of some task sets, alone and in one file."""
    folder = tmp_path_factory.mktemp("some")
    plans = plans_of(net)
    emitted = {text: plans[text] for text in ("pose", "age+smile+pose", "age+smile")}
    exporter.write(emitted, folder, {"pamc.name": "kit"}, {"single": True})
    return folder


def answers(folder, x, mask):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"input": x, "tasks": np.array(mask)}), strict=True))


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("seed", [2, 5, 8])
def test_every_task_set_gives_what_its_own_file_gives(seed, kind, tmp_path):
    net = random_net(seed)
    numerics = calibrate(net, batch(net, 16), QuietProgress()) if kind == "int8" else Numerics(kind)
    plans = plans_of(net, numerics)
    written = exporter.write(plans, tmp_path, {}, {"single": True})
    assert tmp_path / "model.onnx" in written
    x = batch(net, 3)
    seen = []
    for file, task_set, session in exporter.variants(tmp_path, list(plans)):
        found, wanted = session.run(x), exporter.open(tmp_path, task_set).run(x)
        assert list(found) == list(wanted)
        for task, answer in found.items():
            np.testing.assert_allclose(answer, wanted[task], rtol=1e-5, atol=1e-6)
        seen.append((file, task_set))
    assert seen == [("model.onnx", task_set) for task_set in plans]


@pytest.mark.parametrize(
    "mask, answered",
    [
        ([True, True, True], "age+smile+pose"),
        ([True, True, False], "age+smile"),
        ([False, False, True], "pose"),
        ([True, False, False], "age+smile"),
        ([False, True, True], "age+smile+pose"),
        ([False, False, False], ""),
    ],
)
def test_a_mask_gets_the_smallest_written_task_set_that_has_its_tasks(net, some, mask, answered):
    x = batch(net, 2)
    wanted = evaluate(net.graph, x)
    for task, found in answers(some, x, mask).items():
        if task in answered.split("+"):
            np.testing.assert_allclose(found, wanted[task].numpy(), rtol=1e-4, atol=1e-5)
        else:
            assert found.shape == (0, 3)


def test_a_mask_that_no_written_task_set_answers_gives_no_rows(net, tmp_path):
    plans = plans_of(net)
    exporter.write({text: plans[text] for text in ("age", "pose")}, tmp_path, {}, {"single": True})
    x = batch(net, 2)
    assert list(answers(tmp_path, x, [True, False])) == ["age", "pose"]
    assert [len(found) for found in answers(tmp_path, x, [False, True]).values()] == [0, 2]
    assert [len(found) for found in answers(tmp_path, x, [True, True]).values()] == [0, 0]


def test_the_choice_prefers_fewer_tasks_and_then_the_first():
    table = chosen_sets("abc", ["a+b+c", "b+c", "a+b", "c"])
    assert table.tolist() == [4, 2, 1, 2, 3, 0, 1, 0]


def test_the_interface_is_what_the_documents_say(some):
    model = onnx.load(some / "model.onnx", load_external_data=False)
    source, mask = model.graph.input
    assert (source.name, mask.name) == ("input", "tasks")
    assert mask.type.tensor_type.elem_type == onnx.TensorProto.BOOL
    assert [dim.dim_value for dim in mask.type.tensor_type.shape.dim] == [len(TASKS)]
    assert [output.name for output in model.graph.output] == list(TASKS)
    properties = {item.key: item.value for item in model.metadata_props}
    assert properties["pamc.tasks"] == "age,smile,pose"
    assert properties["pamc.task_sets"] == "pose,age+smile+pose,age+smile"
    assert properties["pamc.name"] == "kit"


def _subgraphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _subgraphs(attribute.g)


def test_weights_are_those_of_weights_bin_and_lie_in_the_branches(some):
    model = onnx.load(some / "model.onnx", load_external_data=False)
    outer, *inner = _subgraphs(model.graph)
    assert not any(tensor.external_data for tensor in outer.initializer)
    external = [tensor for graph in inner for tensor in graph.initializer if tensor.external_data]
    assert {item.value for tensor in external for item in tensor.external_data if item.key == "location"} == {
        "weights.bin"
    }
    alone = [onnx.load(path, load_external_data=False) for path in some.glob("*e.onnx")]
    assert len(external) == sum(bool(t.external_data) for one in alone for t in one.graph.initializer)
    assert (some / "model.onnx").stat().st_size < (some / "weights.bin").stat().st_size


def test_tasks_may_be_called_as_the_inputs(tmp_path):
    sketch = Sketch((1, 6, 6))
    flat = sketch.plain("flat", Flatten(), sketch.act(sketch.conv("x", 3)))
    net = sketch.finish({"input": sketch.linear(flat, 2), "tasks": sketch.linear(flat, 2)}, {})
    exporter.write(plans_of(net), tmp_path, {}, {"single": True})
    names = [source.name for source in onnx.load(tmp_path / "model.onnx").graph.input]
    assert names == ["network_input", "requested_tasks"]
    assert len(list(exporter.variants(tmp_path, ["input", "tasks", "input+tasks"]))) == 3
