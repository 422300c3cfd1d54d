"""The suite that compares kinds of numbers: what it judges in files, and what its page says of its goals."""

from typing import Any

import pytest

from benchmarks.suites.numbers.judging import judge
from benchmarks.suites.numbers.page import page
from pamc.train import Samples, Target, predict
from tests.lower.nets import batch, two_task_net


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_files_are_judged_by_what_they_answer(format: str) -> None:
    net = two_task_net()
    x = batch(net, 64)
    answers = predict(net, x)
    labels = {task: output.argmax(axis=1) for task, output in answers.items()}
    labels["smile"] = (labels["smile"] + 1) % answers["smile"].shape[1]
    targets = {task: Target(task, "accuracy", "cross_entropy") for task in net.tasks}
    found = {kind: judge(net, targets, x, Samples(x, labels, answers), format, kind) for kind in ("float32", "int8")}
    assert found["float32"].accuracies == {"age": 100.0, "smile": 0.0}
    assert found["int8"].accuracies["age"] > 50
    assert 0 < found["int8"].bytes != found["float32"].bytes


def held(drop: float, ms: float) -> dict[str, Any]:
    """Results of one network, of which int8 loses ``drop`` points and takes ``ms`` where float32 takes 3."""
    judged = [
        {
            "suite": "s",
            "row": "r",
            "seed": 0,
            "format": "onnx",
            "kind": kind,
            "accuracies": {"a": 90.0, "b": 80.0 - lost},
            "bytes": size,
        }
        for kind, lost, size in (("float32", 0.0, 1000), ("int8", drop, 250))
    ]
    timed = [
        {"format": format, "kind": kind, "ms": taken}
        for format in ("onnx", "tflite")
        for kind, taken in (("float32", 3.0), ("int8", ms if format == "tflite" else 2.0))
    ]
    words = {"command": "command", "created": "today", "environment": "a machine", "samples": 512}
    return {**words, "wide": ["vgg16", "pam", 2, 64], "judged": judged, "timed": timed}


@pytest.mark.parametrize(
    ("drop", "ms", "verdicts"),
    [(0.49, 1.0, ["met", "met"]), (0.51, 1.0, ["**not met**", "met"]), (0.4, 1.01, ["met", "**not met**"])],
)
def test_the_page_holds_int8_to_its_goals(drop: float, ms: float, verdicts: list[str]) -> None:
    lines = [line for line in page(held(drop, ms)).splitlines() if line.startswith("The goal")]
    assert [line.split(": ")[1].split(",")[0].rstrip(".") for line in lines] == verdicts
    text = page(held(drop, ms))
    assert f"| {drop / 2:+.2f} | {drop:+.2f} | 0.25x |" in text
    assert f"| {3.0 / ms:.2f} times as fast |" in text
    assert "| 1.50 times as fast |" in text
