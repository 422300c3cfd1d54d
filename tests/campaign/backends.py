"""Everything that can run a plan. Each backend is one function from a written case to outputs by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from pamc.export import exporters, find_exporter
from pamc.graph.interpret import evaluate
from pamc.lower import Plan
from pamc.verify import RTOL
from tests.campaign.old_runtime import old_runtime

__all__ = ["BACKENDS", "Backend", "available"]

ROUNDINGS = 3.0

Outputs = Mapping[str, np.ndarray]
Run = Callable[[Path, Plan, np.ndarray], Outputs]


@dataclass(frozen=True)
class Backend:
    """``run(directory, plan, x)`` opens what the exporter ``format`` wrote into the directory, or runs the plan itself
    where the format is empty. ``rounds`` says whether it computes int8 as int8, ``roundings`` how exactly."""

    name: str
    format: str
    run: Run
    rounds: bool = True
    roundings: float = ROUNDINGS

    def limit(self, kind: str) -> tuple[float, str]:
        """The largest error allowed, and of what it is measured."""
        if kind == "int8" and self.rounds:
            return self.roundings, "output step and rounding noise"
        return RTOL, "largest output and rounding noise"


def _interpreter(directory: Path, plan: Plan, x: np.ndarray) -> Outputs:
    with torch.no_grad():
        return {task: value.numpy() for task, value in evaluate(plan.graph, x).items()}


def _product(name: str) -> Run:
    def run(directory: Path, plan: Plan, x: np.ndarray) -> Outputs:
        return find_exporter(name).open(directory, plan.task_set).run(x)

    return run


def _unoptimised(directory: Path, plan: Plan, x: np.ndarray) -> Outputs:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    path = directory / find_exporter("onnx").files(plan.task_set)[0]
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


@cache
def _max_pool() -> type:
    from onnx.reference.ops import op_max_pool

    class MaxPool(op_max_pool.MaxPool):
        # For a stride of 1 onnx 1.23 takes a path that pads wrongly: an empty window, or the maximum of zeros. The
        # other path is right for every stride.
        def _run(self, x: np.ndarray, ceil_mode: int = 0, **attributes: object) -> tuple[np.ndarray, ...]:
            return self._max_pool(x, ceil_mode=ceil_mode, **attributes)

    return MaxPool


def _specification(directory: Path, plan: Plan, x: np.ndarray) -> Outputs:
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(directory / find_exporter("onnx").files(plan.task_set)[0])
    # It knows quantisation from opset 19 on. Every operation that is written means the same in both.
    model.opset_import[0].version = max(model.opset_import[0].version, 19)
    evaluator = ReferenceEvaluator(model, new_ops=[_max_pool()])
    return dict(zip(evaluator.output_names, evaluator.run(None, {evaluator.input_names[0]: x}), strict=True))


def _board(directory: Path, plan: Plan, x: np.ndarray) -> Outputs:
    return old_runtime().run(directory / find_exporter("tflite").files(plan.task_set)[0], plan.task_set, x)


BACKENDS = (
    Backend("torch", "", _interpreter, rounds=False),
    Backend("onnx.reference", "onnx", _specification),
    Backend("onnxruntime, no optimisation", "onnx", _unoptimised),
    Backend("onnxruntime, all optimisations", "onnx", _product("onnx")),
    Backend("litert", "tflite", _product("tflite")),
    # Its int8 kernels are coarser than LiteRT's: 3.6 was seen behind two global averages.
    Backend("tflite-runtime 2.14", "tflite", _board, roundings=6.0),
)


def available() -> tuple[Backend, ...]:
    """The backends of the formats whose exporters are installed."""
    formats = {"", *exporters()}
    return tuple(backend for backend in BACKENDS if backend.format in formats)
