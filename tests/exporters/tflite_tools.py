"""What the tests of the TFLite exporter share: plans of every task set, files as values, calibrated numerics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pamc.graph import Graph, MultitaskGraph, all_task_sets
from pamc.graph.interpret import evaluate
from pamc.lower import FLOAT32, Numerics, Plan, bare_plan, lower
from pamc.lower.calibration import calibrate
from pamc.lower.numerics import Range
from pamc.progress import QuietProgress
from pamc.verify.compare import errors
from pamc_exporters.tflite import exporter
from pamc_exporters.tflite.decode import decode
from pamc_exporters.tflite.exporter import FILE
from tests.lower.nets import Sketch, batch
from tests.targets import ARM64

__all__ = ["agree", "codes", "differences", "int8_of", "model_of", "plan_of", "plans_of"]


def plans_of(net: MultitaskGraph, numerics: Numerics = FLOAT32) -> dict[str, Plan]:
    """The plans of all task sets."""
    plans = lower(net, list(all_task_sets(len(net.tasks))), ARM64, numerics)
    return {plan.task_set: plan for plan in plans.values()}


def int8_of(net: MultitaskGraph, samples: int = 16) -> Numerics:
    """Numerics calibrated on the samples that :func:`tests.lower.nets.batch` starts with."""
    return calibrate(net, batch(net, samples), QuietProgress())


def model_of(directory):
    """The written file as values."""
    return decode((directory / FILE).read_bytes())


def codes(directory, task_set: str) -> Counter[str]:
    """The operators of a task set, counted."""
    (found,) = (subgraph for subgraph in model_of(directory).subgraphs if subgraph.name == task_set)
    return Counter(operator.code for operator in found.operators)


def agree(net: MultitaskGraph, directory, samples: int = 3) -> float:
    """Write and run every task set in float32; return the largest error relative to PyTorch."""
    plans = plans_of(net)
    exporter.write(plans, directory, {})
    x = batch(net, samples)
    whole = {task: value.numpy() for task, value in evaluate(net.graph, x).items()}
    worst = 0.0
    for task_set in plans:
        outputs = exporter.open(directory, task_set).run(x)
        assert "+".join(outputs) == task_set
        worst = max(worst, *(errors(found, whole[task])[1] for task, found in outputs.items()))
    return worst


def plan_of(
    sketch: Sketch, outputs: Mapping[str, str], kind: str = "float32", ranges: Mapping[str, Range] | None = None
) -> Plan:
    """A plan that no multitask network may lower to: any value can be the output of any task."""
    plan = bare_plan(Graph(tuple(sketch.nodes), outputs, sketch.params), ARM64.name)
    return replace(plan, kind=kind, ranges=ranges or {})


def differences(plan: Plan, directory, samples: int = 2) -> dict[str, float]:
    """Write and run one plan in float32; the error of each output relative to PyTorch, infinite for another shape."""
    exporter.write({plan.task_set: plan}, directory, {})
    x = np.random.default_rng(5).standard_normal((samples, *plan.graph.shapes["x"])).astype(np.float32)
    found = exporter.open(directory, plan.task_set).run(x)
    return {task: errors(found[task], wanted.numpy())[1] for task, wanted in evaluate(plan.graph, x).items()}
