"""What the numbers in a bundle's files cost in accuracy: the files themselves, run on the user's data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pamc.errors import GoalMissedError
from pamc.export import Exporter, Session
from pamc.lower import Plan
from pamc.progress import Progress
from pamc.scoring import Scorer
from pamc.spec import Spec

__all__ = ["Judged", "check_accuracy", "file_scores"]

BATCH = 64
# 98.4 - 97.6 is a little more than 0.8 in floating point.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """By task: the metric on the evaluation data, and the drop against the original network on the worse data."""

    scores: Mapping[str, float]
    drops: Mapping[str, float]


def _answers(session: Session, x: NDArray[np.generic]) -> dict[str, NDArray[np.floating]]:
    parts = [session.run(x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
    return {task: np.concatenate([part[task] for part in parts]) for task in session.outputs}


def file_scores(
    exporter: Exporter,
    directory: Path,
    plans: Mapping[str, Plan],
    scorer: Scorer,
    emitted: Collection[str],
    progress: Progress,
) -> dict[str, Judged]:
    """Run every task set of ``plans`` on all of the scorer's data; those not in ``emitted`` are composed."""
    found = {}
    with progress.track(len(plans), f"scores of {exporter.name}") as bar:
        for text, plan in plans.items():
            session = exporter.open(directory, text) if text in emitted else exporter.compose(plan, directory)
            found[text] = Judged(*scorer.judge(lambda x, session=session: _answers(session, x)))  # type: ignore[misc]
            bar.advance(note=text)
    return found


def check_accuracy(spec: Spec, format: str, found: Mapping[str, Judged]) -> None:
    """Raises GoalMissedError when a task of any task set drops more than it may."""
    missed = []
    for task, allowed in spec.max_drops.items():
        lost, text = max((judged.drops[task], text) for text, judged in found.items() if task in judged.drops)
        if allowed is not None and lost > allowed + ROUNDING:
            missed.append(f"{task} {lost:.3g} of {allowed:g} allowed (task set {text})")
    if missed:
        kind = spec.quantize.kind
        raise GoalMissedError(
            f"as {kind} in the format {format}, tasks drop more than they may: {', '.join(missed)}",
            where=str(spec.path),
            why=f"merging and pruning left too little of the budget to {kind}",
            cure="raise quantize.reserve, the share of the budget that pruning leaves (0.2 by default), or max_drop; "
            "or use quantize: fp16"
            if kind == "int8"
            else "raise max_drop, or use quantize: none",
        )
