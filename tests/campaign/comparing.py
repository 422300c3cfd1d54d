"""One case through every backend."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc.export import find_exporter
from pamc.lower import Plan
from tests.campaign.backends import Backend, available
from tests.campaign.cases import Case, draw_case
from tests.campaign.choices import Choices
from tests.campaign.judging import Answer, exact_answers, rounded_answers

__all__ = ["Outcome", "compare", "try_case"]


@dataclass
class Outcome:
    """What the backends made of a case: the largest error of each in its units (:mod:`tests.campaign.judging`), and
    in ``failures`` what went wrong where."""

    kind: str = ""
    tasks: int = 0
    task_sets: int = 0
    operations: list[str] = field(default_factory=list)
    worst: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def _run(backend: Backend, folder: Path, plan: Plan, case: Case, answers: Mapping[str, Answer], into: Outcome) -> None:
    place = f"{backend.name}, {case.kind}, task set {plan.task_set}"
    try:
        found = backend.run(folder, plan, case.x)
    except Exception as error:  # whatever a runtime raises is what the campaign looks for
        into.failures.append(f"{place}: {type(error).__name__}: {error}")
        return
    if set(found) != set(answers):
        into.failures.append(f"{place}: outputs {sorted(found)}, should be {sorted(answers)}")
        return
    limit, unit = backend.limit(case.kind)
    for task, array in found.items():
        error = answers[task].error(array)
        into.worst[backend.name] = max(into.worst.get(backend.name, 0.0), error)
        if not error <= limit:
            into.failures.append(f"{place}, output {task}: error {error:.3g}, allowed {limit:g} ({unit})")


def _write(case: Case, root: Path, outcome: Outcome) -> frozenset[str]:
    """A folder per format under ``root``; the formats that could be written, and "" for the plan itself."""
    written = {""}
    for name in sorted({backend.format for backend in available()} - written):
        (root / name).mkdir()
        try:
            find_exporter(name).write(case.plans, root / name, {})
            written.add(name)
        except Exception as error:
            outcome.failures.append(f"writing {name}, {case.kind}: {type(error).__name__}: {error}")
    return frozenset(written)


def compare(case: Case) -> Outcome:
    """Write a case in every format and run every task set on every backend."""
    started = time.monotonic()
    operations = sorted({getattr(node.op, "function", node.op.kind) for node in case.net.graph.nodes})
    outcome = Outcome(case.kind, len(case.net.tasks), len(case.plans), operations)
    with TemporaryDirectory(prefix="pamc-campaign-") as root:
        written = _write(case, Path(root), outcome)
        whole = exact_answers(case)
        for plan in case.plans.values():
            exact = {task: whole[task] for task in plan.graph.outputs}
            rounded = rounded_answers(plan, case.x) if case.kind == "int8" else exact
            for backend in available():
                if backend.format in written:
                    answers = rounded if backend.rounds else exact
                    _run(backend, Path(root) / backend.format, plan, case, answers, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


def try_case(choices: Choices) -> Outcome:
    """Draw a case and compare it. A case that cannot even be lowered or calibrated has failed too."""
    try:
        case = draw_case(choices)
    except Exception as error:
        return Outcome(failures=[f"before anything was written: {type(error).__name__}: {error}"])
    return compare(case)
