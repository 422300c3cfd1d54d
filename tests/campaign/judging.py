"""Right answers, and the units in which wrong ones are measured.

Float: the error relative to the largest right number, or to more where float32 itself knows less, as the product's
verifier has it. Int8: a runtime rounds as it likes where a number lies near the middle of two steps, and each such
choice goes on through the layers. So the reference is run again with every value moved by up to half a step before it
is rounded; the unit is one step of the output's scale plus the largest change that this made. Over 10,000 cases errors
were at most 2.1 units, of tflite-runtime 2.14 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pamc.graph import Node
from pamc.graph.interpret import run
from pamc.lower import Plan
from pamc.lower.quantized import quantized_params, quantized_values, rounded, step_of
from pamc.verify.compare import errors
from pamc.verify.limits import RTOL, Floats
from pamc.verify.rounding import shaken_outputs
from tests.campaign.cases import Case

__all__ = ["Answer", "exact_answers", "rounded_answers"]

SHAKES = 6


@dataclass(frozen=True)
class Answer:
    """What an output should be; ``unit`` is the error that counts as one."""

    wanted: np.ndarray
    unit: float

    def error(self, found: np.ndarray) -> float:
        """The largest error in units; infinite for another shape or numbers that are not finite."""
        return errors(found, self.wanted)[0] / self.unit


def exact_answers(case: Case) -> Mapping[str, Answer]:
    """By task, for backends that compute in float. The largest error that the verifier allows is ``RTOL`` units."""
    whole = max(case.plans.values(), key=lambda plan: len(plan.graph.outputs))
    draws = [shaken_outputs(whole.graph, case.x, seed) for seed in range(SHAKES)]
    answers = {}
    for task, wanted in case.reference.items():
        allowed = Floats(RTOL, np.stack([draw[task] for draw in draws])).allowed(wanted)
        answers[task] = Answer(wanted, allowed / RTOL * max(float(np.abs(wanted).max()), 1e-12))
    return answers


def _shaken(plan: Plan, x: np.ndarray, seed: int) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    held = quantized_params(plan.graph, plan.ranges)

    def storing(node: Node, value: Tensor) -> Tensor:
        bounds = plan.ranges[node.name]
        shift = torch.rand(value.shape, generator=generator, dtype=value.dtype) - 0.5
        return rounded(value + shift * step_of(bounds), bounds)

    with torch.no_grad():
        return run(plan.graph, torch.as_tensor(x), lambda node, role: held[node.params[role]], storing=storing)


def rounded_answers(plan: Plan, x: np.ndarray) -> Mapping[str, Answer]:
    """By task, for backends that compute int8."""
    wanted = quantized_values(plan.graph, plan.ranges, x)
    shaken = [_shaken(plan, x, seed) for seed in range(SHAKES)]
    answers = {}
    for task, value in plan.graph.outputs.items():
        noise = max(float((other[value] - wanted[value]).abs().max()) for other in shaken)
        answers[task] = Answer(wanted[value].numpy(), step_of(plan.ranges[value]) + noise)
    return answers
