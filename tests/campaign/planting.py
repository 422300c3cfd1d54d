"""Planting one fault, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from pamc.export import find_exporter
from pamc.graph.interpret import evaluate
from pamc.lower import Plan
from pamc.lower.quantized import quantized_values
from pamc.verify.compare import errors
from tests.campaign.building import Build, draw_build
from tests.campaign.cases import inputs
from tests.campaign.choices import seeded
from tests.campaign.faults import LOWERING_FAULTS, PLAN_FAULTS
from tests.campaign.file_faults import FILE_FAULTS
from tests.campaign.judging import rounded_answers

__all__ = ["CHANGE", "Verdict", "clean_alarm", "fault_names", "plant"]

POOL = 128
# Below these a fault does not change the function: float32 resolves 1.2e-7, and int8 what its own rounding leaves.
CHANGE = {"float32": 1e-7, "float16": 1e-7, "int8": 1.0}


@dataclass(frozen=True)
class Verdict:
    """``alarm`` has the verifier's words. Without any, ``effect`` is the largest change of an output, over the user's
    data and as much noise, relative to the largest right number; for int8 in steps and rounding noise
    (:mod:`tests.campaign.judging`)."""

    fault: str
    alarm: str | None
    effect: float = 0.0


def fault_names(format: str) -> list[str]:
    """Every kind of fault that can be planted into a format."""
    return [*PLAN_FAULTS, *LOWERING_FAULTS, *FILE_FAULTS[format]]


def _answers(plan: Plan, x: np.ndarray) -> Mapping[str, np.ndarray]:
    if plan.kind == "int8":
        values = quantized_values(plan.graph, plan.ranges, x)
        return {task: values[value].numpy() for task, value in plan.graph.outputs.items()}
    return {task: value.numpy() for task, value in evaluate(plan.graph, x, dtype=torch.float64).items()}


def _apart(plan: Plan, x: np.ndarray, found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    if plan.kind == "int8":
        units = {task: answer.unit for task, answer in rounded_answers(plan, x).items()}
        return max(errors(found[task], wanted[task])[0] / units[task] for task in wanted)
    return max(errors(found[task], wanted[task])[1] for task in wanted)


def _of_plans(build: Build, plans: Mapping[str, Plan]) -> float:
    pool = np.concatenate([build.data, inputs(build.net, POOL, 1)])
    pairs = [(plan, plans[name]) for name, plan in build.plans.items() if plans[name] is not plan]
    return max((_apart(plan, pool, _answers(other, pool), _answers(plan, pool)) for plan, other in pairs), default=0.0)


def _of_files(build: Build, folder: Path, clean: Path) -> float:
    """The change that the runtime itself shows: a fault of a file may be none that a plan can express."""
    pool = np.concatenate([build.data, inputs(build.net, POOL, 1)])
    exporter, largest = find_exporter(build.format), 0.0
    for name, plan in build.plans.items():
        wanted = exporter.open(clean, name).run(pool)
        try:
            found = exporter.open(folder, name).run(pool)
        except Exception:  # a network that cannot run is as wrong as can be
            return np.inf
        if any(not np.array_equal(found[task], wanted[task]) for task in wanted):
            largest = max(largest, _apart(plan, pool, found, wanted))
    return largest


def _plant_in_files(build: Build, fault: str, numbers: np.random.Generator, root: Path) -> Verdict | None:
    clean, folder = root / "clean", root / "faulty"
    build.write(folder, build.plans)
    if not FILE_FAULTS[build.format][fault](build, folder, numbers):
        return None
    alarm = build.alarm(folder)
    if alarm is not None:
        return Verdict(fault, alarm)
    build.write(clean, build.plans)
    return Verdict(fault, None, _of_files(build, folder, clean))


def _plant_in_plans(build: Build, fault: str, numbers: np.random.Generator, root: Path) -> Verdict | None:
    plans = {**PLAN_FAULTS, **LOWERING_FAULTS}[fault](build, numbers)
    if plans is None:
        return None
    try:
        build.write(root / "faulty", plans)
    except Exception as error:  # refused before it was written
        return Verdict(fault, f"not written: {error}")
    alarm = build.alarm(root / "faulty", plans if fault in LOWERING_FAULTS else None)
    return Verdict(fault, alarm, 0.0 if alarm is not None else _of_plans(build, plans))


def plant(number: int, format: str, kind: str) -> Verdict | None:
    """Build a network, plant a fault and verify. None where the drawn fault does not exist in the drawn network."""
    build = draw_build(seeded(number), format, kind)
    numbers = np.random.default_rng(number)
    names = fault_names(format)
    fault = names[int(numbers.integers(len(names)))]
    with TemporaryDirectory(prefix="pamc-faults-") as root:
        planted = _plant_in_files if fault in FILE_FAULTS[format] else _plant_in_plans
        return planted(build, fault, numbers, Path(root))


def clean_alarm(number: int, format: str, kind: str) -> str | None:
    """What verification says of a build without a fault; None as it should be."""
    build = draw_build(seeded(number), format, kind)
    with TemporaryDirectory(prefix="pamc-faults-") as root:
        build.write(Path(root) / "clean", build.plans)
        return build.alarm(Path(root) / "clean")
