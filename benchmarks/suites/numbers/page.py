"""docs/benchmarks/numbers.md from what was judged and timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

__all__ = ["DROP", "FASTER", "page"]

DROP = 0.5
FASTER = 3.0
NAMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}

HEAD = """# Numbers: what float16 and int8 cost and save

    {command}

{created}. {environment}. [numbers.json](numbers.json) has every network.

## Accuracy

Networks of the [suites](../benchmarks.md#suites-methods-against-methods-at-equal-accuracy), written in three kinds of
numbers; nothing is trained or pruned again. int8 is calibrated on {samples} training images. *drop* is how many points
of accuracy a task loses on the test images against the float32 file of the same network, in the task set where it is
worst: the mean over tasks and seeds, and the worst of all. *bytes*: the files of all task sets, against float32.
"""


def page(held: Mapping[str, Any]) -> str:
    """The page of a results file."""
    parts = [HEAD.format(**held)]
    return "\n".join([*parts, *_drops(held["judged"]), "", *_times(held), ""])


def _drops(judged: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| suite | row | seeds | runtime | numbers | drop, mean | drop, worst | bytes |"
    yield "| --- | --- | ---: | --- | --- | ---: | ---: | ---: |"
    plain = {_network(item): item for item in judged if item["kind"] == "float32"}
    worst = float("-inf")
    for key in dict.fromkeys((i["suite"], i["row"], i["format"], i["kind"]) for i in judged if i["kind"] != "float32"):
        found = [item for item in judged if (item["suite"], item["row"], item["format"], item["kind"]) == key]
        drops = [
            plain[_network(item)]["accuracies"][task] - accuracy
            for item in found
            for task, accuracy in item["accuracies"].items()
        ]
        size = mean(item["bytes"] / plain[_network(item)]["bytes"] for item in found)
        suite, row, format, kind = key
        if kind == "int8":
            worst = max(worst, *drops)
        yield (
            f"| {suite} | {row} | {len(found)} | {NAMES[format]} | {kind} | {mean(drops):+.2f} | {max(drops):+.2f} "
            f"| {size:.2f}x |"
        )
    yield ""
    verdict = "met" if worst < DROP else "**not met**"
    yield f"The goal, under {DROP} points for int8: {verdict}, {worst:.2f} at worst."


def _network(item: Mapping[str, Any]) -> tuple[Any, ...]:
    return item["suite"], item["row"], item["seed"], item["format"]


def _times(held: Mapping[str, Any]) -> Iterator[str]:
    network, split, tasks, size = held["wide"]
    yield "## Time\n"
    yield (
        f"{network} of the [lowering suite](lowering.md), split *{split}*, {tasks} tasks, {size} pixels, random "
        "weights; all tasks at once, one thread, CPU time of the thread, kinds in turn.\n"
    )
    yield "| runtime | numbers | ms | against float32 |"
    yield "| --- | --- | ---: | ---: |"
    plain = {item["format"]: item["ms"] for item in held["timed"] if item["kind"] == "float32"}
    for item in held["timed"]:
        yield (
            f"| {NAMES[item['format']]} | {item['kind']} | {item['ms']:.2f} "
            f"| {plain[item['format']] / item['ms']:.2f} times as fast |"
        )
    (int8,) = (item for item in held["timed"] if (item["format"], item["kind"]) == ("tflite", "int8"))
    faster = plain["tflite"] / int8["ms"]
    verdict = "met" if faster >= FASTER else "**not met**"
    yield f"\nThe goal, int8 at least {FASTER:.0f} times as fast as float32 in LiteRT: {verdict}."
