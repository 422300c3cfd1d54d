"""A bundle with a chain of equal convolutions: of 20 and of 21 of them, one takes 5 % more work than the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.suites.bare import bare_bundle
from pamc.bundle import VECTORS, Bundle, file_entry
from pamc.bundle.manifest import Amounts, TaskSetEntry
from pamc.export import find_exporter
from pamc.graph import Graph, Node
from pamc.graph.ir import frozen_array
from pamc.graph.ops import Conv, GlobalAvgPool, Input
from pamc.lower import bare_plan

__all__ = ["CHANNELS", "SIZE", "TASK", "chain_bundle"]

TASK = "chain"
CHANNELS = 32
SIZE = 14
KERNEL = 3


def _chain(length: int) -> Graph:
    rng = np.random.default_rng(0)
    nodes = [Node("x", Input((CHANNELS, SIZE, SIZE)))]
    params = {}
    op = Conv((KERNEL, KERNEL), padding=(KERNEL // 2, KERNEL // 2))
    for number in range(length):
        name = f"conv{number}"
        weight = rng.standard_normal((CHANNELS, CHANNELS, KERNEL, KERNEL)) / (CHANNELS * KERNEL**2) ** 0.5
        params[f"{name}.weight"] = frozen_array(weight.astype(np.float32))
        params[f"{name}.bias"] = frozen_array(np.zeros(CHANNELS, np.float32))
        roles = {role: f"{name}.{role}" for role in ("weight", "bias")}
        nodes.append(Node(name, op, (nodes[-1].name,), roles))
    nodes.append(Node("mean", GlobalAvgPool(), (nodes[-1].name,)))
    return Graph(tuple(nodes), {TASK: "mean"}, params)


def chain_bundle(folder: Path, length: int, formats: tuple[str, ...] = ("onnx",)) -> Bundle:
    """A bundle in the new ``folder`` whose only task is a chain of ``length`` convolutions."""
    graph = _chain(length)
    plan = bare_plan(graph, "x86_64")
    written: dict[str, list[Path]] = {}
    for form in formats:
        (folder / form).mkdir(parents=True)
        written[form] = list(find_exporter(form).write({TASK: plan}, folder / form, {}))
    session = find_exporter(formats[0]).open(folder / formats[0], TASK)
    x = np.random.default_rng(1).standard_normal((2, CHANNELS, SIZE, SIZE)).astype(np.float32)
    save_file({"input": x, **{f"output:{name}": value for name, value in session.run(x).items()}}, folder / VECTORS)
    files = {path.relative_to(folder).as_posix(): file_entry(path) for paths in written.values() for path in paths}
    entry = TaskSetEntry(
        emitted=True,
        macs=Amounts(plan.macs, None, plan.macs),
        params=Amounts(plan.params, None, plan.params),
        bytes={form: sum(path.stat().st_size for path in paths) for form, paths in written.items()},
        scores={},
        files=tuple(files),
    )
    return bare_bundle(
        folder, f"chain{length}", "x86_64", (CHANNELS, SIZE, SIZE), {TASK: graph.shapes["mean"]}, {TASK: entry}, files
    )
