"""A complete small bundle for tests."""

from __future__ import annotations

from pathlib import Path

from pamc.bundle import GRAPH, GRAPH_WEIGHTS, VECTORS, BundleWriter, Manifest
from pamc.bundle.manifest import (
    Amounts,
    Check,
    InputEntry,
    Latency,
    Method,
    Normalize,
    Scores,
    TaskEntry,
    TaskSetEntry,
    Timing,
)
from pamc.bundle.numerics import NUMERICS, to_json
from pamc.graph import MultitaskGraph, all_task_sets, cost, name_of
from pamc.graph.ops import Input
from pamc.graph.serial import dump
from pamc.lower import FLOAT32, lower
from pamc.verify import golden_vectors
from pamc_exporters.onnx import exporter
from tests.lower.nets import batch, two_task_net
from tests.targets import ARM64


def manifest_of(net: MultitaskGraph, emitted: dict[str, list[str]]) -> Manifest:
    """A manifest with plausible content; ``emitted`` are the files of the emitted task sets."""
    source = net.graph.input.op
    assert isinstance(source, Input)
    sets = {}
    for request in all_task_sets(len(net.tasks)):
        text, amount = name_of(request, net.tasks), cost(net, request)
        sets[text] = TaskSetEntry(
            emitted=text in emitted,
            macs=Amounts(2 * amount.macs, None, amount.macs),
            params=Amounts(2 * amount.params, amount.params, amount.params),
            bytes={"onnx": amount.bytes},
            scores={task: Scores(91.5, None, 91.25) for task in text.split("+")},
            files=tuple(emitted.get(text, ())),
        )
    return Manifest(
        name="kit",
        tasks=tuple(TaskEntry(task, "accuracy", 1.0, net.graph.shapes[net.graph.outputs[task]]) for task in net.tasks),
        input=InputEntry(source.shape, source.dtype, Normalize((0.5,), (0.25,))),
        target="arm64",
        seed=0,
        merge=Method("pam", {"groups": "exclusive"}),
        prune=Method("taylor", {}, {"max_drop": 1.0}),
        workload={text: 1 / len(sets) for text in sets},
        task_sets=sets,
        owners={"conv0": {"age+smile": 3, "age": 1}},
        verification=(Check("onnx", "age", "age", 1e-7, 2e-7, 16),),
        files={},
        tools={"onnx": "1.23.2"},
        sources={"model.yaml": "0" * 64},
        stage_seconds={"merge": 1.5},
        created="2026-11-22T13:00:00+00:00",
        latency=Latency("x86_64, 2 cores", {"age": {"bundle": Timing(1.0, 0.5, 1.5, 100)}}),
    )


def make_bundle(out: Path, emit: tuple[str, ...] = ("age", "smile"), net: MultitaskGraph | None = None) -> Path:
    """Write a bundle of a two-task network that has ONNX files for some of its task sets."""
    net = net or two_task_net()
    plans = {plan.task_set: plan for plan in lower(net, list(all_task_sets(len(net.tasks))), ARM64).values()}
    structure, weights = dump(net)
    with BundleWriter(out) as writer:
        writer.write_text(GRAPH, structure)
        writer.write_bytes(GRAPH_WEIGHTS, weights)
        writer.write_text(NUMERICS, to_json(FLOAT32))
        writer.write_bytes(VECTORS, golden_vectors(net, batch(net, 4), 0).to_bytes())
        folder = writer.path("onnx/weights.bin").parent
        exporter.write({name: plans[name] for name in emit}, folder, {})
        shared = ["onnx/weights.bin", "onnx/weights.json"]
        return writer.commit(manifest_of(net, {name: [f"onnx/{name}.onnx", *shared] for name in emit}))
