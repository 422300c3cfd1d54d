"""Small networks built as the product builds them: plans, files, and the proof that these are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from pamc.errors import PamcError
from pamc.export import find_exporter
from pamc.graph import MultitaskGraph
from pamc.lower import Numerics, Plan, target_names
from pamc.lower.calibration import calibrate
from pamc.progress import QuietProgress
from pamc.verify import (
    neighbours,
    reference_outputs,
    select_samples,
    verify_exports,
    verify_operations,
    verify_plans,
)
from pamc.writing import PROOF_SAMPLES
from tests.campaign.cases import inputs, plans_of
from tests.campaign.choices import Choices
from tests.campaign.drawing import draw_network

__all__ = ["Build", "draw_build"]

DATA = 128


@dataclass(frozen=True)
class Build:
    """A network ready to be written as ``format``; ``data`` is what its user evaluates it on."""

    net: MultitaskGraph
    target: str
    format: str
    numerics: Numerics
    plans: Mapping[str, Plan]
    data: np.ndarray

    def write(self, directory: Path, plans: Mapping[str, Plan]) -> None:
        """Write ``plans`` into a new folder."""
        directory.mkdir()
        find_exporter(self.format).write(plans, directory, {})

    def alarm(self, directory: Path, plans: Mapping[str, Plan] | None = None) -> str | None:
        """What verification says against the files of a folder, as the build runs it; None when it finds them right.

        ``plans`` are those that lowering made, where a fault was planted into lowering itself.
        """
        lowered = plans or self.plans
        exporter, proof = find_exporter(self.format), select_samples(self.data, 0, PROOF_SAMPLES)
        reference = reference_outputs(self.net, self.numerics, proof)
        near = cache(partial(neighbours, self.net, self.numerics, proof))
        try:
            verify_plans(self.net, self.numerics, lowered.values(), proof)
            verify_exports(exporter, directory, lowered, proof, reference, near=near)
            verify_operations(exporter, directory, lowered.values(), proof)
        except PamcError as error:
            return f"{error.what}; {error.why}"
        return None


def draw_build(choices: Choices, format: str, kind: str) -> Build:
    """A network with a target and data. Half of the data sets are dark at the edges, as photographs of digits are."""
    net = draw_network(choices)
    target = choices.one_of(target_names())
    data = inputs(net, DATA, choices.seed())
    if data.ndim == 4 and min(data.shape[2:]) > 4 and choices.flag():
        data[:, :, [0, -1]] = 0
        data[:, :, :, [0, -1]] = 0
    numerics = calibrate(net, data, QuietProgress()) if kind == "int8" else Numerics(kind)
    return Build(net, target, format, numerics, plans_of(net, target, numerics), data)
