"""The .tflite file: sharing, layout, sizes, determinism, slices, and opening it again."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from pamc.errors import ConfigError, InternalError, OutputError
from pamc.export import Exporter, Slicing, Tracing, find_exporter
from pamc.graph.ops import Flatten, GlobalAvgPool
from pamc.lower import Numerics
from pamc_exporters.tflite import exporter, slice_model
from pamc_exporters.tflite.decode import decode
from pamc_exporters.tflite.encode import encode
from pamc_exporters.tflite.exporter import FILE
from tests.exporters.tflite_tools import int8_of, plans_of
from tests.lower.nets import Sketch, batch, random_net, three_task_net

KINDS = ["float32", "float16", "int8"]


def numerics(net, kind):
    return int8_of(net) if kind == "int8" else Numerics(kind)


@pytest.fixture(scope="module")
def wide():
    return plans_of(three_task_net(32))


@pytest.fixture
def written(wide, tmp_path):
    exporter.write(wide, tmp_path, {"pamc.name": "kit"})
    return tmp_path


def packed(directory):
    """The file through the schema's own reader, which shares no code with ours."""
    return schema.ModelT.InitFromPackedBuf((directory / FILE).read_bytes(), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_plans_give_the_same_bytes(kind, tmp_path):
    found = []
    for metadata in ({"b": "1", "a": "2"}, {"a": "2", "b": "1"}):
        net = random_net(7)
        exporter.write(plans_of(net, numerics(net, kind)), tmp_path, metadata)
        found.append((tmp_path / FILE).read_bytes())
    assert found[0] == found[1]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [5, 14])
def test_reading_and_writing_a_file_gives_its_bytes(seed, kind, tmp_path):
    net = random_net(seed)
    exporter.write(plans_of(net, numerics(net, kind)), tmp_path, {})
    content = (tmp_path / FILE).read_bytes()
    assert encode(decode(content)) == content


@pytest.mark.parametrize("kind", KINDS)
def test_buffers_are_aligned_and_no_two_are_equal(kind, tmp_path):
    net = three_task_net(16)
    exporter.write(plans_of(net, numerics(net, kind)), tmp_path, {})
    content = (tmp_path / FILE).read_bytes()
    root, seen = schema.Model.GetRootAs(content), []
    used = {tensor.buffer for subgraph in packed(tmp_path).subgraphs for tensor in subgraph.tensors}
    for index in range(1, root.BuffersLength()):
        buffer = root.Buffers(index)
        offset = buffer._tab.Vector(buffer._tab.Offset(4))
        assert offset % 16 == 0
        if index in used:
            seen.append(buffer.DataAsNumpy().tobytes())
    assert len(seen) == len(set(seen)) > 20


def test_what_task_sets_have_in_common_is_written_once(written):
    content = (written / FILE).read_bytes()
    root = schema.Model.GetRootAs(content)
    subgraphs = [root.Subgraphs(index) for index in range(root.SubgraphsLength())]
    operators = [found.Operators(index) for found in subgraphs for index in range(found.OperatorsLength())]
    tensors = [found.Tensors(index) for found in subgraphs for index in range(found.TensorsLength())]
    model = decode(content)
    assert len({table._tab.Pos for table in operators}) == len({op for sub in model.subgraphs for op in sub.operators})
    shapes = {table._tab.Vector(table._tab.Offset(4)) for table in tensors}
    assert len(shapes) <= len({tensor.shape for sub in model.subgraphs for tensor in sub.tensors})


@pytest.mark.parametrize("kind", KINDS)
def test_names_differ_over_all_subgraphs(kind, tmp_path):
    net = random_net(11)
    plans = plans_of(net, numerics(net, kind))
    exporter.write(plans, tmp_path, {})
    model = packed(tmp_path)
    names = [tensor.name.decode() for subgraph in model.subgraphs for tensor in subgraph.tensors]
    assert len(names) == len(set(names))
    assert all(names)
    assert [subgraph.name.decode() for subgraph in model.subgraphs] == [*plans]


def test_signatures_are_task_sets_with_the_names_of_the_onnx_networks(written, wide):
    found = Interpreter(str(written / FILE)).get_signature_list()
    assert set(found) == set(wide)
    for task_set, ends in found.items():
        assert ends["inputs"] == ["input"]
        assert sorted(ends["outputs"]) == sorted(task_set.split("+"))


def test_operator_codes_are_those_of_old_and_new_readers(tmp_path):
    net = random_net(8)
    versions = {}
    for kind in KINDS:
        exporter.write(plans_of(net, numerics(net, kind)), tmp_path, {})
        for code in packed(tmp_path).operatorCodes:
            assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)
            name = next(key for key, value in vars(schema.BuiltinOperator).items() if value == code.builtinCode)
            versions.setdefault((kind, name), set()).add(code.version)
    assert versions["float32", "CONV_2D"] == {1}
    assert versions["float16", "DEQUANTIZE"] == {1, 3} if ("float16", "CAST") in versions else {3}
    assert versions["int8", "CONV_2D"] == {3}
    assert versions["int8", "FULLY_CONNECTED"] == {4}
    assert versions["int8", "RESHAPE"] == {1}
    assert versions["int8", "DEQUANTIZE"] == {2}
    assert versions["int8", "CONCATENATION"] == {2}


def test_the_file_says_where_it_comes_from_and_what_it_needs(written):
    model = packed(written)
    held = {item.name.decode(): model.buffers[item.buffer].data.tobytes() for item in model.metadata}
    assert held["min_runtime_version"] == b"2.7.0".ljust(16, b"\0")
    about = json.loads(held["pamc"])
    assert about["pamc.name"] == "kit"
    assert (about["pamc.numbers"], about["pamc.target"]) == ("float32", "arm64")


def test_a_newer_operator_asks_for_a_newer_runtime(tmp_path):
    sketch = Sketch((4,))
    net = sketch.finish({"a": sketch.linear(sketch.act("x", "gelu"), 2)}, {})
    exporter.write(plans_of(net), tmp_path, {})
    assert b"2.9.0\0" in (tmp_path / FILE).read_bytes()


def four_task_net(groups, width):
    sketch = Sketch((3, 16, 16), seed=3)
    for units in (width, 2 * width, 2 * width):
        sketch.act(sketch.conv(sketch.last, units))
    sketch.plain("gap", GlobalAvgPool(), sketch.last)
    flat = sketch.plain("flat", Flatten(), sketch.last)
    outputs = {task: sketch.linear(flat, 10) for task in ("age", "smile", "pose", "hat")}
    return sketch.finish(outputs, lambda _, units: np.resize(np.array(groups, np.uint32), units))


@pytest.mark.parametrize("groups, width", [([1, 2, 4, 8, 15], 128), (range(1, 16), 240)])
def test_all_task_sets_of_four_tasks_are_hardly_larger_than_the_weights_of_the_largest(groups, width, tmp_path):
    plans = plans_of(four_task_net(list(groups), width))
    assert len(plans) == 15
    weights = 4 * plans["age+smile+pose+hat"].params
    assert 1e6 < weights < 5e6
    exporter.write(plans, tmp_path, {})
    assert (tmp_path / FILE).stat().st_size <= 1.05 * weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [2, 14])
def test_a_slice_computes_the_same_to_the_bit(seed, kind, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, numerics(net, kind))
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    exporter.write(plans, whole, {"pamc.name": "kit"})
    wanted = [*plans][-2:0:-2]
    (path,) = exporter.slice(whole, wanted, part)
    assert path == part / FILE
    x = batch(net, 3)
    for task_set in wanted:
        # The whole file, as a runtime without slices opens it.
        runner = Interpreter(str(whole / FILE)).get_signature_runner(task_set)
        (name,) = runner.get_input_details()
        for task, found in exporter.open(part, task_set).run(x).items():
            rows = [runner(**{name: sample[None]})[task] for sample in x]
            np.testing.assert_array_equal(found, np.concatenate(rows))
    exporter.write({task_set: plans[task_set] for task_set in plans if task_set in wanted}, whole, {"pamc.name": "kit"})
    if kind != "int8":
        assert path.read_bytes() == (whole / FILE).read_bytes()
    with pytest.raises(OutputError, match="there is no TFLite network for"):
        exporter.open(part, next(iter(plans)))


def test_a_slice_has_only_the_weights_that_it_needs(written, wide):
    content = (written / FILE).read_bytes()
    alone = slice_model(content, ["age"])
    assert len(alone) < 1.1 * 4 * wide["age"].params < 0.7 * len(content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [5, 14])
def test_a_composed_task_set_is_exactly_the_emitted_one(seed, kind, tmp_path):
    net = random_net(seed)
    plans = plans_of(net, numerics(net, kind))
    every, singles = tmp_path / "every", tmp_path / "singles"
    every.mkdir()
    singles.mkdir()
    exporter.write(plans, every, {})
    exporter.write({name: plan for name, plan in plans.items() if "+" not in name}, singles, {})
    x = batch(net, 3)
    for task_set, plan in plans.items():
        emitted, composed = exporter.open(every, task_set).run(x), exporter.compose(plan, singles).run(x)
        assert list(emitted) == list(composed)
        for task in emitted:
            np.testing.assert_array_equal(emitted[task], composed[task])


def test_a_group_that_no_written_network_has_is_brought_along(wide, tmp_path):
    exporter.write({"age": wide["age"]}, tmp_path, {})
    x = batch(three_task_net(32), 2)
    assert set(exporter.compose(wide["smile+pose"], tmp_path).run(x)) == {"smile", "pose"}


def test_composing_over_the_weights_of_another_build_is_refused(wide, tmp_path):
    net = three_task_net(32)
    params = {name: array + np.float32(0.5) for name, array in net.graph.params.items()}
    exporter.write(plans_of(net.with_params(params)), tmp_path, {})
    with pytest.raises(OutputError, match=r"the weights .* are not those of the multitask network"):
        exporter.compose(wide["age"], tmp_path)


def test_composing_in_other_numbers_is_refused(written):
    plan = plans_of(three_task_net(32), Numerics("float16"))["age"]
    with pytest.raises(OutputError, match="the TFLite file holds float32 numbers, not float16"):
        exporter.compose(plan, written)


def test_plans_that_disagree_about_a_parameter_are_refused(wide, tmp_path):
    other = plans_of(three_task_net(32).with_params({"fc1.bias": np.ones(3, np.float32)}))
    with pytest.raises(InternalError, match=r"parameter fc1/age\.bias differs between task sets"):
        exporter.write({"age": wide["age"], "age+smile": other["age+smile"]}, tmp_path, {})


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros((2, 1, 12, 11), np.float32), r"shape \(2, 1, 12, 11\) and dtype float32, expected \(n, 1, 12, 12\)"),
        (np.zeros((0, 1, 12, 12), np.float32), r"shape \(0, 1, 12, 12\)"),
        (np.zeros((2, 1, 12, 12), np.float64), r"(?s)dtype float64, expected .* float32.*x\.astype\('float32'\)"),
        (np.zeros((), np.float32), r"shape \(\)"),
        ([[1.0]], r"the input is list, expected a NumPy array \(n, 1, 12, 12\) float32"),
    ],
)
def test_a_wrong_input_is_refused_with_what_was_expected(written, x, message):
    with pytest.raises(ConfigError, match=message):
        exporter.open(written, "age").run(x)


def test_no_threads_is_refused(written):
    with pytest.raises(ConfigError, match="at least one thread, not 0"):
        exporter.open(written, "age", threads=0)


def test_batches_threads_and_strides_do_not_change_the_outputs(written):
    x = batch(three_task_net(32), 5)
    whole = exporter.open(written, "age+pose", threads=2).run(np.asfortranarray(x))
    alone = exporter.open(written, "age+pose").run(x[3:4])
    for task in ("age", "pose"):
        np.testing.assert_allclose(whole[task][3:4], alone[task], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "other", "foreign", "no task set"])
def test_damaged_files_end_in_one_message(written, damage):
    path = written / FILE
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "other": b"PK\x03\x04 something else",
        "foreign": content.replace(b"pamc.weights", b"abcd.weights"),
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged.get(damage, content))
    with pytest.raises(OutputError, match=r"the TFLite file cannot be read|there is no TFLite network for smile\+age"):
        exporter.open(written, "smile+age" if damage == "no task set" else "age")


def test_bytes_that_changed_never_end_in_another_error(written):
    content = np.frombuffer((written / FILE).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    tables = len(content) - 4 * three_task_net(32).graph.params["fc0.weight"].size // 2
    for _ in range(100):
        damaged = content.copy()
        places = rng.integers(0, tables, 20)
        damaged[places] = rng.integers(0, 256, 20)
        try:
            slice_model(damaged.tobytes(), ["age"])
        except OutputError as error:
            assert "cannot be read" in str(error) or "no TFLite network" in str(error)


def test_the_exporter_is_found_by_its_name_and_has_no_options():
    found = find_exporter("tflite")
    assert isinstance(found, Exporter)
    assert isinstance(found, Tracing)
    assert isinstance(found, Slicing)
    assert found.files("age") == (FILE,)
    with pytest.raises(ConfigError, match="format 'tflite' has no option 'single'"):
        found.parse_options({"single": True})


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_exporter_imports_no_runtime():
    heavy = "('ai_edge_litert', 'flatbuffers', 'torch')"
    assert run(f"import sys, pamc_exporters.tflite; print([m for m in {heavy} if m in sys.modules])") == "[]\n"


def test_without_litert_the_message_says_what_to_install(written):
    code = f"""
import sys
from pathlib import Path
sys.modules["ai_edge_litert"] = None
from pamc.errors import ConfigError
from pamc_exporters.tflite import exporter
try:
    exporter.open(Path({str(written)!r}), "age")
except ConfigError as error:
    print(error)
"""
    assert 'cure: pip install "pamc[tflite]"' in run(code)
