"""A case of the campaign: a network, its plans in one kind of numbers for one target, inputs, and the right answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pamc.graph import MultitaskGraph, all_task_sets
from pamc.graph.interpret import evaluate
from pamc.graph.ops import Input
from pamc.lower import Numerics, Plan, load_target, lower, target_names
from pamc.lower.calibration import calibrate
from pamc.lower.numerics import folded, stored
from pamc.progress import QuietProgress
from tests.campaign.choices import Choices
from tests.campaign.drawing import draw_network

__all__ = ["Case", "draw_case", "inputs", "plans_of"]

KINDS = ("float32", "float32", "float16", "int8")
CALIBRATION = 16


@dataclass(frozen=True)
class Case:
    """``reference`` by task is what the multitask network computes for ``x``, in float64, from the numbers that its
    files hold (with int8: unrounded)."""

    net: MultitaskGraph
    kind: str
    plans: Mapping[str, Plan]
    x: np.ndarray
    reference: Mapping[str, np.ndarray]

    def describe(self) -> str:
        source = self.net.graph.input.op
        assert isinstance(source, Input)
        plan = next(iter(self.plans.values()))
        return (
            f"{len(self.net.tasks)} tasks, {len(self.net.graph.nodes)} operations, {self.kind} for {plan.target}, "
            f"input {source.shape} {source.dtype}, batch {len(self.x)}"
        )


def inputs(net: MultitaskGraph, count: int, seed: int) -> np.ndarray:
    """Normal numbers, or pixels, ``(count, *input shape)``."""
    numbers = np.random.default_rng(seed)
    source = net.graph.input.op
    assert isinstance(source, Input)
    if source.dtype == "uint8":
        return numbers.integers(0, 256, (count, *source.shape), dtype=np.uint8)
    return numbers.standard_normal((count, *source.shape)).astype(np.float32)


def plans_of(net: MultitaskGraph, target: str, numerics: Numerics) -> dict[str, Plan]:
    """The plans of all task sets, by task set."""
    plans = lower(net, list(all_task_sets(len(net.tasks))), load_target(target), numerics)
    return {plan.task_set: plan for plan in plans.values()}


def draw_case(choices: Choices) -> Case:
    """A network, a target, a kind of numbers and a batch of one to four inputs."""
    net = draw_network(choices)
    kind, target = choices.one_of(KINDS), choices.one_of(target_names())
    seed = choices.seed()
    x = inputs(net, choices.between(1, 4), seed)
    numerics = Numerics(kind)
    if kind == "int8":
        numerics = calibrate(net, np.concatenate([x, inputs(net, CALIBRATION, seed + 1)]), QuietProgress())
    held = stored(folded(net), numerics)
    reference = {task: value.numpy() for task, value in evaluate(held.graph, x, dtype=torch.float64).items()}
    return Case(net, kind, plans_of(net, target, numerics), x, reference)
