"""What may be brought to a device, and under which names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pamc_devices.deployment import Deployment, Entry, from_text

ENTRY = Entry("0" * 64, 7)
KIT = Deployment(
    name="face-kit",
    runtime="onnxruntime",
    task_sets=("age", "age+smile"),
    command=("program/pamc-runner",),
    options=(),
    files={"bundle/onnx/age+smile.onnx": ENTRY, "bundle/manifest.json": ENTRY, "program/pamc-runner": ENTRY},
)


def test_a_deployment_is_known_by_its_content() -> None:
    assert from_text(KIT.text) == KIT
    assert KIT.text.count("\n") == 1
    turned = replace(KIT, files=dict(reversed(KIT.files.items())))
    assert turned.id == KIT.id
    others = [
        replace(KIT, name="face-kit2"),
        replace(KIT, runtime="litert"),
        replace(KIT, task_sets=("age",)),
        replace(KIT, options=("--runtime", "litert")),
        replace(KIT, files={**KIT.files, "bundle/manifest.json": Entry("1" * 64, 7)}),
    ]
    assert len({KIT.id, *(other.id for other in others)}) == 6
    assert KIT.all_files["deployment.json"].sha256 == KIT.id
    assert KIT.bytes == 21 + len(KIT.text)


@pytest.mark.parametrize(
    "path",
    [
        "bundle/../../etc/passwd",
        "/etc/passwd",
        "bundle//x",
        "bundle/.hidden",
        "bundle/-rf",
        "bundle/a b",
        "bundle/a\nb",
        "bundle/a\n",
        "bundle/$(touch x)",
        "bundle/a;b",
        "bundle/ä",
        "bundle",
        "bundle/",
        "other/x",
        "deployment.json",
        "bundle/" + "a" * 256,
        "bundle" + "/a" * 600,
        "bundle\\x",
        "bundle/manifest.json/x",
    ],
)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError):
        replace(KIT, files={**KIT.files, path: ENTRY})


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../kit"},
        {"name": "kit.part"},
        {"name": "kit\n"},
        {"name": ""},
        {"runtime": "sh"},
        {"task_sets": ()},
        {"task_sets": ("age", "age")},
        {"task_sets": ("age;reboot",)},
        {"task_sets": ("--tasks",)},
        {"task_sets": ("age+",)},
        {"command": ()},
        {"command": ("-c",)},
        {"command": ("program/other",)},
        {"command": ("program/../../bin/sh",)},
        {"command": ("sh", "a\nb")},
        {"options": ("",)},
        {"files": {"bundle/x": Entry("0" * 63, 1)}},
        {"files": {"bundle/x": Entry("0" * 63 + "G", 1)}},
        {"files": {"bundle/x": Entry("0" * 64, -1)}},
    ],
)
def test_hostile_names_are_refused(change: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(KIT, **change)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]\n",
        "null\n",
        "[" * 100_000,
        KIT.text.rstrip("\n"),
        KIT.text.replace(",", ", ", 1),
        KIT.text.replace('"version":1', '"version":2'),
        KIT.text.replace('"name":"face-kit"', '"name":7'),
        KIT.text.replace('"bytes":7', '"bytes":"7"'),
        KIT.text.replace('"bytes":7', '"bytes":7.0'),
        KIT.text.replace('"bytes":7', '"bytes":7,"more":1'),
        json.dumps({**json.loads(KIT.text), "extra": 1}) + "\n",
    ],
)
def test_a_description_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_text(text)
