"""The files of an export: shared weights, sizes, determinism, and opening them again."""

import numpy as np
import onnx
import pytest

from pamc.errors import ConfigError, InternalError, OutputError
from pamc.export import Exporter, Tracing, exporters, find_exporter
from pamc.graph import all_task_sets
from pamc.graph.ops import Flatten, GlobalAvgPool
from pamc.lower import lower
from pamc_exporters.onnx import exporter
from pamc_exporters.onnx.exporter import file_name
from pamc_exporters.onnx.weights import PAGE, collect, lay_out, read_index
from tests.lower.nets import Sketch, batch, random_net, three_task_net, two_task_net
from tests.targets import ARM64


def plans_of(net):
    return {plan.task_set: plan for plan in lower(net, list(all_task_sets(len(net.tasks))), ARM64).values()}


def contents(paths):
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def wide():
    return plans_of(three_task_net(64))


@pytest.fixture
def written(wide, tmp_path):
    exporter.write(wide, tmp_path, {})
    return tmp_path


def test_the_same_plans_give_the_same_bytes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = contents(exporter.write(plans_of(random_net(7)), one, {"b": "1", "a": "2"}))
    second = contents(exporter.write(plans_of(random_net(7)), other, {"a": "2", "b": "1"}))
    assert first == second
    assert {path.name for path in one.iterdir()} == set(first)


def test_weights_are_aligned_disjoint_and_complete(wide, written):
    stored, data = read_index(written), (written / "weights.bin").read_bytes()
    params = collect(wide.values())
    assert any(place.length >= 16 * PAGE for place in stored.values())
    end = 0
    for name, place in sorted(stored.items(), key=lambda item: item[1].offset):
        assert place.offset % (PAGE if place.length >= 16 * PAGE else 64) == 0
        assert place.offset >= end
        end = place.offset + place.length
        assert data[place.offset : end] == params[name].tobytes()
        assert (place.dtype, place.shape) == ("float32", params[name].shape)
    assert end == len(data)
    assert {name for name in params if name not in stored} == {n for n in params if params[n].nbytes < 128}


def test_gaps_before_aligned_tensors_are_filled():
    sizes = {"large": 17000, "next": 17001, "small": 100, "tiny": 8}
    places = lay_out({name: np.arange(size, dtype=np.float32) for name, size in sizes.items()})
    assert [places[name].offset for name in ("next", "large", "small")] == [0, 69632, 68032]
    assert "tiny" not in places


def test_equal_tensors_lie_in_one_place():
    places = lay_out({"one": np.ones(64, np.float32), "other": np.ones((8, 8), np.float32), "zero": np.zeros(64)})
    assert places["one"].offset == places["other"].offset != places["zero"].offset
    assert places["other"].shape == (8, 8)


def test_every_model_refers_to_the_one_file(wide, written):
    places = {(str(place.offset), str(place.length), place.shape) for place in read_index(written).values()}
    referred = set()
    for task_set in wide:
        for tensor in onnx.load(written / f"{task_set}.onnx", load_external_data=False).graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                found = {item.key: item.value for item in tensor.external_data}
                assert found.pop("location") == "weights.bin"
                referred.add((found["offset"], found["length"], tuple(tensor.dims)))
            else:
                assert len(tensor.raw_data) < 128
    assert referred == places


def exclusive_or_shared(units):
    """Owners as merging by `pam` leaves them for four tasks: each task's own units, and those of all."""
    return np.resize(np.array([1, 2, 4, 8, 15], dtype=np.uint32), units)


def four_task_net(width):
    sketch = Sketch((3, 16, 16), seed=3)
    for units in (width // 4, width, width, width):
        sketch.act(sketch.conv(sketch.last, units))
    pooled = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), sketch.last))
    return sketch.finish(
        {task: sketch.linear(pooled, 10) for task in "abcd"}, lambda _, units: exclusive_or_shared(units)
    )


def test_fifteen_task_sets_are_hardly_larger_than_the_weights_of_all_tasks(tmp_path):
    plans = plans_of(four_task_net(320))
    weights = 4 * plans["a+b+c+d"].params
    assert (len(plans), weights > 1_000_000) == (15, True)
    files = exporter.write(plans, tmp_path, {})
    assert sum(path.stat().st_size for path in files) <= 1.05 * weights


def test_seven_task_sets_with_every_group_are_hardly_larger_than_the_weights(tmp_path):
    plans = plans_of(three_task_net(192))
    weights = 4 * plans["age+smile+pose"].params
    files = exporter.write(plans, tmp_path, {})
    assert sum(path.stat().st_size for path in files) <= 1.05 * weights
    assert (tmp_path / "weights.bin").stat().st_size <= 1.01 * weights


@pytest.mark.parametrize("seed", [1, 2, 5, 8, 11, 14, 17])
def test_a_composed_task_set_is_exactly_the_emitted_one(seed, tmp_path):
    net = random_net(seed)
    plans = plans_of(net)
    every, singles = tmp_path / "every", tmp_path / "singles"
    every.mkdir()
    singles.mkdir()
    exporter.write(plans, every, {})
    exporter.write({name: plan for name, plan in plans.items() if "+" not in name}, singles, {})
    x = batch(net, 4)
    for task_set, plan in plans.items():
        emitted, composed = exporter.open(every, task_set).run(x), exporter.compose(plan, singles).run(x)
        assert list(emitted) == list(composed)
        for task in emitted:
            np.testing.assert_array_equal(emitted[task], composed[task])


def test_a_group_that_no_written_network_has_is_brought_along(wide, tmp_path):
    exporter.write({"age": wide["age"]}, tmp_path, {})
    x = batch(three_task_net(64), 2)
    assert set(exporter.compose(wide["smile+pose"], tmp_path).run(x)) == {"smile", "pose"}


def test_composing_over_the_weights_of_another_build_is_refused(wide, tmp_path):
    net = three_task_net(64)
    params = {name: array + np.float32(0.5) for name, array in net.graph.params.items()}
    exporter.write(plans_of(net.with_params(params)), tmp_path, {})
    with pytest.raises(OutputError, match=r"the weights .* are not those of the multitask network"):
        exporter.compose(wide["age"], tmp_path)


def test_plans_that_disagree_about_a_parameter_are_refused(wide, tmp_path):
    other = plans_of(three_task_net(64).with_params({"fc1.bias": np.ones(3, np.float32)}))
    with pytest.raises(InternalError, match=r"parameter fc1/age\.bias differs between task sets"):
        exporter.write({"age": wide["age"], "age+smile": other["age+smile"]}, tmp_path, {})


def test_long_task_sets_get_short_and_different_file_names():
    names = [file_name("+".join(f"task{i}_{'x' * 25}" for i in range(last))) for last in (2, 8, 9)]
    assert names[0] == f"task0_{'x' * 25}+task1_{'x' * 25}.onnx"
    assert len(set(names)) == 3
    assert all(len(name) < 130 for name in names)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros((2, 1, 12, 11), np.float32), r"shape \(2, 1, 12, 11\) and dtype float32, expected \(n, 1, 12, 12\)"),
        (np.zeros((1, 12, 12), np.float32), r"shape \(1, 12, 12\)"),
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


def test_batches_and_threads_do_not_change_the_outputs(written):
    x = batch(three_task_net(64), 5)
    whole = exporter.open(written, "age+pose", threads=2).run(x)
    alone = exporter.open(written, "age+pose").run(x[3:4])
    for task in ("age", "pose"):
        np.testing.assert_allclose(whole[task][3:4], alone[task], rtol=1e-5, atol=1e-6)


def test_a_task_set_that_was_not_written_cannot_be_opened(written):
    with pytest.raises(OutputError, match="there is no ONNX network for smile\\+age"):
        exporter.open(written, "smile+age")


@pytest.mark.parametrize("damage", ["short weights", "no weights", "no model", "half a model"])
def test_damaged_files_end_in_one_message(written, damage, capfd):
    weights, model = written / "weights.bin", written / "age.onnx"
    match damage:
        case "short weights":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "no weights":
            weights.unlink()
        case "no model":
            model.write_bytes(b"")
        case "half a model":
            model.write_bytes(model.read_bytes()[:500])
    with pytest.raises(OutputError, match="ONNX Runtime cannot load the network"):
        exporter.open(written, "age").run(batch(two_task_net(), 1))
    assert capfd.readouterr().err == ""


def test_a_model_cannot_read_outside_of_its_folder(written):
    secret = written.parent / "secret.bin"
    secret.write_bytes(b"\0" * (1 << 20))
    model = onnx.load(written / "age.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for item in tensor.external_data:
            if item.key == "location":
                item.value = "../secret.bin"
    (written / "age.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(OutputError, match="ONNX Runtime cannot load the network"):
        exporter.open(written, "age")


@pytest.mark.parametrize("text", ["", "[]", '{"format_version": 1, "tensors": {}}', '{"format_version": 2}', "{"])
def test_a_damaged_index_is_refused(wide, written, text):
    (written / "weights.json").write_text(text)
    with pytest.raises(OutputError, match="the index of the weights cannot be read"):
        exporter.compose(wide["age"], written)


def test_the_exporter_is_found_by_its_name():
    assert "onnx" in exporters()
    found = find_exporter("onnx")
    assert isinstance(found, Exporter)
    assert isinstance(found, Tracing)
    with pytest.raises(ConfigError) as caught:
        find_exporter("onx")
    assert "no exporter for format 'onx' is installed, did you mean 'onnx'?" in str(caught.value)
