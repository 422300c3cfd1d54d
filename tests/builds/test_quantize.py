"""Bundles in float16 and int8, in every format, from the same pruned network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pamc
from pamc.accuracy import Judged, check_accuracy
from pamc.bundle import Bundle
from pamc.config import load_spec
from pamc.errors import GoalMissedError, OutputError
from pamc.lower import Numerics
from tests.builds.kinds import COMPOSED, EMITTED, FORMATS, KINDS
from tests.builds.project import Net, make_project
from tests.builds.sample import data

INK_DATA = '{train: "data.py:train_ink", eval: "data.py:evaluate_ink"}'
# Bytes of a weight; the rest are biases, scales and the graphs.
WEIGHT = {"none": 4, "fp16": 2, "int8": 1}


def accuracy(answers: NDArray[Any], labels: NDArray[Any]) -> float:
    return 100 * float(np.mean(answers.argmax(axis=1) == labels))


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_the_same_and_the_numerics_are_in_the_bundle(bundles: Mapping[str, Bundle], kind: str) -> None:
    bundle = bundles[kind]
    bundle.check_hashes()
    for name in ("multitask.json", "multitask.safetensors"):
        assert bundle.file(name).read_bytes() == bundles["none"].file(name).read_bytes()
    assert bundle.numerics.kind == bundle.manifest.numerics.method == KINDS[kind]
    assert bundle.formats == FORMATS
    assert "numerics.json" in bundle.manifest.files
    assert bundle.manifest.numerics.options == ({"samples": 512, "reserve": 0.2} if kind == "int8" else {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_task_set_answers_as_the_manifest_says(bundles: Mapping[str, Bundle], kind: str, format: str) -> None:
    runtime, manifest = pamc.load(bundles[kind].path, format=format), bundles[kind].manifest
    x, labels = data.evaluate_without_big()
    for text in (*EMITTED, COMPOSED):
        for task, answers in runtime.run(x, tasks=text).items():
            scores = manifest.task_sets[text].scores[task]
            if kind == "none":
                assert scores.quantized is None
                assert accuracy(answers, labels[task]) == pytest.approx(scores.bundle, abs=0.25)
            else:
                assert scores.quantized is not None and set(scores.quantized) == set(FORMATS)
                assert accuracy(answers, labels[task]) == pytest.approx(scores.quantized[format], abs=1e-9)
                assert scores.quantized[format] == pytest.approx(scores.bundle, abs=1.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_device_can_prove_itself(bundles: Mapping[str, Bundle], kind: str, format: str) -> None:
    bundle = bundles[kind]
    answers = pamc.load(bundle.path, format=format).run(bundle.vectors["input"])
    for task, found in answers.items():
        wanted = bundle.vectors[f"output:{task}"]
        low, high = bundle.numerics.ranges.get(bundle.net.graph.outputs[task], (0.0, 0.0))
        # A grey of 8/16 lies in the middle between two of 255 steps: runtimes round it up or down.
        allowed = 2.5 * (high - low) / 255 if kind == "int8" else 1e-4 * np.abs(wanted).max()
        assert np.abs(found - wanted).max() <= allowed
        exact = bundles["none"].vectors[f"output:{task}"]
        assert (kind == "none") == np.array_equal(wanted, exact)
        assert np.abs(wanted - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("format", FORMATS)
def test_files_shrink_with_their_numbers(bundles: Mapping[str, Bundle], format: str) -> None:
    sizes = {kind: bundle.manifest.task_sets["digit+parity"].bytes[format] for kind, bundle in bundles.items()}
    params = bundles["none"].manifest.task_sets["digit+parity"].params.bundle
    for kind, bytes_each in WEIGHT.items():
        assert sizes["none"] - sizes[kind] >= 0.7 * (4 - bytes_each) * params, (kind, sizes)


def test_verification_covered_every_output_in_every_format(bundles: Mapping[str, Bundle]) -> None:
    for bundle in bundles.values():
        assert {(check.format, check.task_set, check.output) for check in bundle.manifest.verification} == {
            (format, text, task) for format in FORMATS for text in (*EMITTED, COMPOSED) for task in text.split("+")
        }


def test_the_reports_show_the_accuracy_after_quantisation(bundles: Mapping[str, Bundle]) -> None:
    from pamc_bench.report import render_html, render_markdown, render_terminal

    manifest = bundles["int8"].manifest
    for text in (render_markdown(manifest), render_html(manifest, {}), render_terminal(manifest)):
        assert "int8" in text
        assert "tflite" in text


def test_a_network_that_int8_spoils_makes_no_bundle(tmp_path: Path) -> None:
    kinds = {"digit": "accuracy", "ink": "mae"}
    mine = make_project(
        tmp_path / "kit",
        (Net("digit"), Net("ink")),
        metrics=kinds,
        data=INK_DATA,
        merge="{method: separate}",
        prune="{method: none, budget: {max_drop: 0}}",
        quantize="{kind: int8, reserve: 0}",
        train="{epochs: 0}",
    )
    mine.replace("model.yaml", "metric: accuracy", "metric: accuracy\n    max_drop: 50")
    before = mine.files()
    with pytest.raises(GoalMissedError, match=r"as int8 in the format onnx, .*: ink 0\.\d+ of 0 allowed") as caught:
        mine.build()
    assert caught.value.exit_code == 6 and "quantize.reserve" in str(caught.value.cure)
    assert mine.files() == before


def test_a_drop_counts_in_every_task_set_and_up_to_the_budget(tmp_path: Path) -> None:
    prune = "{budget: {max_drop: 0.8}}"
    mine = make_project(tmp_path / "kit", (Net("digit"), Net("parity")), prune=prune, quantize="int8")
    spec = load_spec(mine.root / "model.yaml")
    fine = Judged({}, {"digit": 98.4 - 97.6, "parity": -3.0})
    check_accuracy(spec, "onnx", {"digit+parity": fine})
    with pytest.raises(GoalMissedError, match=r"digit 0.9 of 0.8 allowed \(task set digit\)") as caught:
        check_accuracy(spec, "onnx", {"digit": Judged({}, {"digit": 0.9}), "digit+parity": fine})
    assert "parity" not in caught.value.what


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["ranges"].popitem(), "are not those of its network"),
        (
            lambda found: found["shifts"].popitem()[1].append(0.0) or found["shifts"].update(digit=[1.0]),
            "are not those",
        ),
        (lambda found: found.update(kind="float16"), "are not those of its network"),
        (lambda found: found.update(kind="int4"), "numerics.kind is 'int4'"),
        (lambda found: found.update(format_version=2), "has format version 2"),
        (lambda found: found["ranges"].update({min(found["ranges"]): [1.0, 2.0]}), "is no range around 0"),
        (lambda found: found.pop("shifts"), r"lacks \['shifts'\]"),
    ],
)
def test_damaged_numerics_are_told(bundles: Mapping[str, Bundle], change: Any, message: str) -> None:
    path = bundles["int8"].file("numerics.json")
    original = path.read_text()
    found = json.loads(original)
    change(found)
    try:
        path.write_text(json.dumps(found))
        with pytest.raises(OutputError, match=message):
            _ = Bundle(bundles["int8"].path, bundles["int8"].manifest).numerics
    finally:
        path.write_text(original)


def test_what_is_written_is_what_is_read(bundles: Mapping[str, Bundle]) -> None:
    from pamc.bundle.numerics import from_json, to_json

    for bundle in bundles.values():
        numerics = bundle.numerics
        assert from_json(to_json(numerics)) == numerics
        assert isinstance(numerics, Numerics)
