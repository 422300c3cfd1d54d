"""The options of the exporter: simplified networks, and networks in ONNX Runtime's own format."""

import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pamc.errors import ConfigError, InternalError
from pamc.graph import all_task_sets
from pamc.lower import load_target, lower
from pamc_exporters.onnx import exporter, ort_format, simplify
from pamc_exporters.onnx.options import OnnxOptions
from pamc_exporters.onnx.weights import collect, lay_out
from tests.lower.nets import batch, three_task_net


def plans_of(net):
    found = lower(net, list(all_task_sets(len(net.tasks))), load_target("x86_64"))
    return {plan.task_set: plan for plan in found.values()}


@pytest.fixture(scope="module")
def net():
    return three_task_net(24)


@pytest.fixture(scope="module")
def plans(net):
    return {text: plan for text, plan in plans_of(net).items() if text in ("age", "age+smile")}


@pytest.fixture
def written(plans, tmp_path):
    exporter.write(plans, tmp_path, {"pamc.name": "kit"})
    return tmp_path


@pytest.fixture
def stored(plans):
    return lay_out(collect(plans.values()))


def note(model):
    return {item.key: item.value for item in model.metadata_props}["pamc.simplify"]


def simplified(folder, stored):
    path = folder / "age.onnx"
    return simplify.simplified(path, onnx.load(path, load_external_data=False), stored)


def test_options_are_read_from_plain_values():
    assert exporter.parse_options({}) == OnnxOptions(single=False, simplify=False, ort=False)
    assert exporter.parse_options({"single": True}).single
    with pytest.raises(ConfigError) as caught:
        exporter.parse_options({"singel": True, "ort": "yes"})
    assert [problem.where for problem in caught.value.problems] == ["singel", "ort"]
    assert "format 'onnx' has no option 'singel', did you mean 'single'?" in str(caught.value)


def test_simplifying_without_its_package_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    with pytest.raises(ConfigError, match=r"simplify needs the package onnxsim(?s:.*)pip install \"pamc\[simplify\]\""):
        exporter.parse_options({"simplify": True})


def test_simplified_networks_keep_their_weights_in_weights_bin(net, plans, written, tmp_path):
    folder = tmp_path / "simple"
    folder.mkdir()
    exporter.write({"age": plans["age"]}, folder, {"pamc.name": "kit"}, {"simplify": True})
    x = batch(net, 3)
    model, before = (onnx.load(place / "age.onnx", load_external_data=False) for place in (folder, written))
    assert note(model) == "applied"
    assert {"pamc.name", "pamc.task_set"} <= {item.key for item in model.metadata_props}
    counts = [sum(bool(tensor.external_data) for tensor in one.graph.initializer) for one in (model, before)]
    assert counts[0] == counts[1] > 0
    wanted = exporter.open(written, "age").run(x)["age"]
    np.testing.assert_allclose(exporter.open(folder, "age").run(x)["age"], wanted, rtol=1e-5, atol=1e-6)


def _crash(path, result, keep):
    raise simplify._Refused("onnx-simplifier failed: exit code -11")


def _other_output(path, result, keep):
    model = onnx.load(path)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    onnx.save(model, result)


def _new_weights(path, result, keep):
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, result)


def _invalid(path, result, keep):
    model = onnx.load(path)
    model.graph.node[0].op_type = "Convolution"
    onnx.save(model, result)


@pytest.mark.parametrize(
    "process, reason",
    [
        (_crash, "onnx-simplifier failed: exit code -11"),
        (_other_output, "the simplified network has other inputs or outputs"),
        (_new_weights, "bytes that weights.bin has not"),
        (_invalid, "is not valid ONNX"),
        (lambda path, result, keep: result.write_bytes(b"\xff"), "the simplified network cannot be read"),
        (lambda path, result, keep: None, "the simplified network cannot be read"),
    ],
)
def test_what_is_wrong_with_a_simplified_network_is_noted_and_it_is_not_taken(
    written, stored, monkeypatch, process, reason
):
    monkeypatch.setattr(simplify, "_run", process)
    before = (written / "age.onnx").read_bytes()
    model = simplified(written, stored)
    assert note(model).startswith("not applied: ")
    assert reason in note(model)
    del model.metadata_props[-1]
    assert model.SerializeToString(deterministic=True) == before
    assert not list(written.glob(".*"))


@pytest.mark.parametrize(
    "program, reason",
    [
        ("import os; os.kill(os.getpid(), 11)", "exit code -11"),
        ("raise SystemExit('out of luck')", "out of luck"),
        ("import time; time.sleep(60)", "took more than 1 seconds"),
    ],
)
def test_a_simplifier_that_crashes_or_hangs_does_not_end_a_build(
    written, stored, monkeypatch, tmp_path, program, reason
):
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(simplify, "SECONDS", 1 if "sleep" in program else 60)
    monkeypatch.setattr(simplify.sys, "executable", str(fake))
    assert reason in note(simplified(written, stored))


def test_ort_files_compute_the_same_without_weights_bin(net, plans, tmp_path):
    written = exporter.write(plans, tmp_path, {}, {"ort": True})
    files = {path.relative_to(tmp_path).as_posix() for path in written if path.parent != tmp_path}
    assert files == {"ort/age.ort", "ort/age+smile.ort", "ort/required_operators_and_types.config"}
    assert "Conv" in (tmp_path / "ort" / "required_operators_and_types.config").read_text()
    target = tmp_path / "slice"
    target.mkdir()
    exporter.slice(tmp_path, ["age"], target)
    assert {path.name for path in (target / "ort").iterdir()} == {"age.ort", ort_format.CONFIG}
    assert (target / "ort" / "age.ort").read_bytes() == (tmp_path / "ort" / "age.ort").read_bytes()
    x = batch(net, 3)
    wanted = {task_set: exporter.open(tmp_path, task_set).run(x) for task_set in plans}
    (tmp_path / "weights.bin").unlink()
    seen = []
    for file, task_set, session in exporter.variants(tmp_path, list(plans)):
        for task, found in session.run(x).items():
            np.testing.assert_allclose(found, wanted[task_set][task], rtol=1e-4, atol=1e-5)
        seen.append(file)
    assert seen == ["ort/age.ort", "ort/age+smile.ort"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_converter_that_fails_is_a_defect(plans, written, monkeypatch, tmp_path):
    monkeypatch.setattr(ort_format.sys, "executable", "/bin/false")
    with pytest.raises(InternalError, match="converter failed with exit code 1"):
        ort_format.write_ort([written / "age.onnx"], "x86_64")
