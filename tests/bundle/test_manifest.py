import json
from dataclasses import replace

import pytest

from pamc.bundle import from_json, to_json
from pamc.errors import InternalError, OutputError
from tests.bundle.making import manifest_of
from tests.lower.nets import two_task_net


@pytest.fixture(scope="module")
def manifest():
    return manifest_of(two_task_net(), {"age": ["onnx/age.onnx"]})


def test_what_is_written_is_what_is_read(manifest):
    assert from_json(to_json(manifest)) == manifest
    assert to_json(from_json(to_json(manifest))) == to_json(manifest)
    assert json.loads(to_json(manifest))["schema_version"] == 1
    assert manifest.task_names == ("age", "smile")


def test_latency_may_be_missing(manifest):
    assert from_json(to_json(replace(manifest, latency=None))).latency is None


def test_a_number_that_is_not_finite_is_not_written(manifest):
    with pytest.raises(InternalError, match="the manifest cannot be written: Out of range float"):
        to_json(replace(manifest, stage_seconds={"merge": float("nan")}))


def changed(manifest, path, value):
    data = json.loads(to_json(manifest))
    *parents, last = path
    place = data
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    "path, value, message",
    [
        (["schema_version"], 2, "has schema version 2, this pamc reads 1"),
        (["schema_version"], None, "has schema version None"),
        (["schema_version"], True, "has schema version True"),
        (["colour"], "red", r"manifest has unknown keys \['colour'\]"),
        (["target"], None, r"manifest lacks \['target'\]"),
        (["seed"], 1.5, "manifest.seed is float, should be int"),
        (["seed"], True, "manifest.seed is bool, should be int"),
        (["name"], 3, "manifest.name is int, should be str"),
        (["tasks"], {}, "manifest.tasks is dict, should be a list"),
        (["tasks"], [], "should be at least one"),
        (["tasks", 0, "name"], "smile", "all different"),
        (["tasks", 0, "shape", 0], "4", r"manifest.tasks\[0\].shape\[0\] is str, should be int"),
        (["merge"], [], "manifest.merge is list, should be an object"),
        (["task_sets", "age", "macs", "bundle"], None, r"manifest.task_sets.age.macs lacks \['bundle'\]"),
        (["task_sets", "smile+age"], {}, "manifest.task_sets.smile\\+age lacks"),
        (["workload", "smile+age"], 0.5, "'smile\\+age' is not in the order of the tasks"),
        (["workload", "rage"], 0.5, "unknown task 'rage'"),
        (["stage_seconds", "merge"], "NaN", "is str, should be float"),
        (["files"], {"a": {"sha256": "0", "bytes": "1"}}, "manifest.files.a.bytes is str"),
    ],
)
def test_damage_is_reported_by_its_place(manifest, path, value, message):
    with pytest.raises(OutputError, match=message):
        from_json(changed(manifest, path, value))


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", "[" * 100_000, '{"schema_version": 1, "seed": NaN}'])
def test_anything_else_is_no_manifest(text):
    with pytest.raises(OutputError, match="the manifest cannot be read"):
        from_json(text)


def test_a_number_that_is_not_finite_is_not_read(manifest):
    text = to_json(manifest).replace('"merge": 1.5', '"merge": NaN')
    with pytest.raises(OutputError, match=r"manifest.stage_seconds.merge is not a finite number"):
        from_json(text)
