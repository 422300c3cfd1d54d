"""What a merge method is: a function that assigns owners and initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph
from pamc.progress import Progress, QuietProgress
from pamc.registry import Registry
from pamc.train import Samples, Target

__all__ = ["METHODS", "Calibration", "Method"]


@dataclass(frozen=True)
class Calibration:
    """Training samples that a method may look at.

    ``x`` is ``(n, *input shape)``; ``labels`` hold ``(n,)`` class numbers or real targets, or ``(n, k)`` binary
    targets, by task. ``kinds`` say how to read them: ``class``, ``binary`` or ``real``. A task without labels is
    judged by its own network's predictions. Methods that train do so on ``train`` towards ``targets``, and not at all
    without targets.
    """

    x: NDArray[np.generic]
    kinds: Mapping[str, str]
    labels: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    progress: Progress = field(default_factory=QuietProgress)
    seed: int = 0
    train: Samples | None = None
    targets: Sequence[Target] = ()


Method = Callable[[MultitaskGraph, Calibration, Any], MultitaskGraph]
"""``(separate network, calibration, options) -> network with owners assigned``."""

METHODS: Registry[Method] = Registry("merge method")
