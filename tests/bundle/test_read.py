"""A bundle may come from anywhere, so nothing in it is trusted."""

import json
import os

import numpy as np
import pytest

from pamc.bundle import open_bundle
from pamc.errors import OutputError
from pamc.graph.interpret import evaluate
from tests.bundle.making import make_bundle
from tests.lower.nets import two_task_net


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "kit")


def edit(bundle, change):
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_sound_bundle_gives_back_network_and_vectors(bundle):
    opened = open_bundle(bundle)
    opened.check_hashes()
    assert opened.formats == ("onnx",)
    assert opened.directory("onnx") == bundle / "onnx"
    net = two_task_net()
    assert opened.net.tasks == net.tasks
    for key, array in net.graph.params.items():
        np.testing.assert_array_equal(opened.net.graph.params[key], array)
    found = evaluate(opened.net.graph, opened.vectors["input"])
    np.testing.assert_array_equal(found["age"].numpy(), opened.vectors["output:age"])


def test_no_bundle_is_said_to_be_none(tmp_path):
    with pytest.raises(OutputError, match=r"(?s)this is not a bundle.*there is no such folder"):
        open_bundle(tmp_path / "nothing")
    with pytest.raises(OutputError, match=r"(?s)this is not a bundle.*it has no manifest.json"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "onnx/../../outside", "a\\..\\b", "", "a\0b"])
def test_paths_that_lead_outside_are_refused(bundle, name):
    (bundle.parent / "outside").write_text("secret")
    edit(bundle, lambda data: data["files"].update({name: {"sha256": "0" * 64, "bytes": 6}}))
    with pytest.raises(OutputError, match="names a path outside of itself"):
        open_bundle(bundle)


@pytest.mark.parametrize("listed", [True, False])
def test_links_that_lead_outside_are_refused(bundle, listed):
    outside = bundle.parent / "outside.onnx"
    outside.write_bytes((bundle / "onnx" / "age.onnx").read_bytes())
    name = "age.onnx" if listed else "age+smile.onnx"
    (bundle / "onnx" / name).unlink(missing_ok=True)
    (bundle / "onnx" / name).symlink_to(outside)
    with pytest.raises(OutputError, match="leads out of the bundle"):
        open_bundle(bundle)


def test_a_linked_folder_that_leads_outside_is_refused(bundle):
    (bundle / "onnx").rename(bundle.parent / "onnx")
    (bundle / "onnx").symlink_to("../onnx")
    with pytest.raises(OutputError, match="leads out of the bundle"):
        open_bundle(bundle)


def test_a_link_inside_and_a_link_to_the_bundle_are_fine(bundle):
    (bundle / "latest.json").symlink_to("manifest.json")
    (bundle.parent / "link").symlink_to("kit")
    open_bundle(bundle.parent / "link").check_hashes()


def test_only_regular_files_count(bundle):
    path = bundle / "multitask.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OutputError, match=r"lacks the file multitask\.json"):
        open_bundle(bundle)


def test_missing_and_short_files_are_found_at_once(bundle):
    weights = bundle / "onnx" / "weights.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(OutputError, match=rf"onnx/weights.bin has {len(whole) - 1} bytes, should have {len(whole)}"):
        open_bundle(bundle)
    weights.unlink()
    with pytest.raises(OutputError, match=r"lacks the file onnx/weights\.bin"):
        open_bundle(bundle)


def test_changed_content_is_found_by_its_hash(bundle):
    weights = bundle / "onnx" / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[10] ^= 1
    weights.write_bytes(data)
    opened = open_bundle(bundle)
    with pytest.raises(OutputError, match=r"(?s)files of the bundle were changed: onnx/weights.bin\n"):
        opened.check_hashes()


def test_a_task_set_cannot_use_unlisted_files(bundle):
    edit(bundle, lambda data: data["task_sets"]["age"]["files"].append("onnx/other.onnx"))
    with pytest.raises(OutputError, match=r"task set age needs files that the manifest does not list"):
        open_bundle(bundle)


@pytest.mark.parametrize("text", ["{}", "[]", "", "[" * 100_000, '{"format_version": 9}'])
def test_a_damaged_network_ends_in_one_message(bundle, text):
    (bundle / "multitask.json").write_text(text)
    edit(bundle, lambda data: data["files"]["multitask.json"].update(bytes=len(text)))
    with pytest.raises(OutputError, match=r"multitask graph|network in the bundle is damaged"):
        _ = open_bundle(bundle).net


def test_a_network_that_breaks_the_rules_is_the_fault_of_the_file(bundle):
    path = bundle / "multitask.json"
    text = path.read_text().replace('"act0"', '"conv1"', 1)
    path.write_text(text)
    edit(bundle, lambda data: data["files"]["multitask.json"].update(bytes=len(text)))
    with pytest.raises(OutputError, match="the network in the bundle is damaged"):
        _ = open_bundle(bundle).net


def test_a_network_of_other_tasks_is_refused(bundle):
    path = bundle / "multitask.json"
    text = path.read_text().replace('"smile"', '"laugh"')
    path.write_text(text)
    edit(bundle, lambda data: data["files"]["multitask.json"].update(bytes=len(text)))
    with pytest.raises(OutputError, match=r"the network has the tasks \['age', 'laugh'\], the manifest"):
        _ = open_bundle(bundle).net


def test_damaged_vectors_end_in_one_message(bundle):
    path = bundle / "vectors.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(OutputError, match="the test vectors cannot be read"):
        _ = open_bundle(bundle).vectors
