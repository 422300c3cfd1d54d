"""Task sets taken out of a written folder."""

import numpy as np
import onnx
import pytest

from pamc.errors import OutputError
from pamc.graph import all_task_sets
from pamc.lower import Numerics, lower
from pamc_exporters.onnx import exporter
from pamc_exporters.onnx.weights import read_index
from tests.lower.nets import batch, three_task_net
from tests.targets import ARM64

KEPT = ["age", "age+pose"]


@pytest.fixture(scope="module")
def net():
    return three_task_net(48)


@pytest.fixture(scope="module")
def plans(net):
    found = lower(net, list(all_task_sets(3)), ARM64, Numerics("float16"))
    return {plan.task_set: plan for plan in found.values()}


@pytest.fixture
def written(plans, tmp_path):
    folder = tmp_path / "all"
    folder.mkdir()
    exporter.write(plans, folder, {"pamc.name": "kit"}, {"single": True})
    return folder


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    return folder


def test_the_networks_compute_the_same(net, written, target):
    exporter.slice(written, KEPT, target)
    x = batch(net, 3)
    for task_set in KEPT:
        wanted, found = exporter.open(written, task_set).run(x), exporter.open(target, task_set).run(x)
        assert list(found) == list(wanted)
        for task in wanted:
            np.testing.assert_array_equal(found[task], wanted[task])


def test_only_what_is_needed_is_there_and_everything_is_named(net, plans, written, target):
    paths = exporter.slice(written, KEPT, target)
    assert set(paths) == set(target.iterdir())
    assert {path.name for path in paths} == {"age.onnx", "age+pose.onnx", "model.onnx", "weights.bin", "weights.json"}
    alone = target.parent / "alone"
    alone.mkdir()
    exporter.write({name: plans[name] for name in KEPT}, alone, {})
    assert (target / "weights.bin").read_bytes() == (alone / "weights.bin").read_bytes()
    assert read_index(target) == read_index(alone)
    assert (target / "weights.bin").stat().st_size < 0.8 * (written / "weights.bin").stat().st_size


def test_the_one_file_has_the_tasks_that_are_left(net, written, target):
    exporter.slice(written, KEPT, target)
    model = onnx.load(target / "model.onnx", load_external_data=False)
    assert [output.name for output in model.graph.output] == ["age", "pose"]
    assert {"pamc.name": "kit", "pamc.task_sets": "age,age+pose"}.items() <= {
        item.key: item.value for item in model.metadata_props
    }.items()
    x = batch(net, 2)
    for _, task_set, session in exporter.variants(target, KEPT):
        wanted = exporter.open(written, task_set).run(x)
        for task, found in session.run(x).items():
            np.testing.assert_allclose(found, wanted[task], rtol=1e-5, atol=1e-6)


def test_the_same_slice_has_the_same_bytes(written, target, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    first, second = (exporter.slice(written, KEPT, folder) for folder in (target, again))
    assert [path.name for path in first] == [path.name for path in second]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


def test_other_task_sets_can_be_composed_over_it(net, plans, written, target):
    exporter.slice(written, KEPT, target)
    x = batch(net, 2)
    wanted = exporter.open(written, "pose").run(x)["pose"]
    np.testing.assert_allclose(exporter.compose(plans["pose"], target).run(x)["pose"], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["no model", "half a model", "no weights", "short weights", "no index", "no entry"])
def test_damaged_files_are_refused(written, target, damage):
    model, weights, index = (written / name for name in ("age.onnx", "weights.bin", "weights.json"))
    match damage:
        case "no model":
            model.unlink()
        case "half a model":
            model.write_bytes(model.read_bytes()[:500])
        case "no weights":
            weights.unlink()
        case "short weights":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "no index":
            index.unlink()
        case "no entry":
            index.write_text('{"format_version": 2, "tensors": {}}')
    with pytest.raises(OutputError):
        exporter.slice(written, KEPT, target)
