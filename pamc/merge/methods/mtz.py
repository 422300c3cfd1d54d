"""Multi-Task Zipping (He, Zhou, Thiele, NeurIPS 2018): layer by layer, near-equal units of the networks become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pamc.graph import MultitaskGraph
from pamc.merge.clusters import Zipped
from pamc.merge.fusing import fuse
from pamc.merge.joining import tied
from pamc.merge.registry import METHODS, Calibration
from pamc.merge.zipping import start, zip_space
from pamc.train import Recipe, fit

__all__ = ["MtzOptions", "ZipOptions", "mtz", "zip_layers"]

BATCH_SIZE = 32


@dataclass(frozen=True)
class ZipOptions:
    """How layers are zipped: on how many training samples inputs are measured, at most 1024, and the mini-batches of
    training after each layer."""

    retrain: int = 50
    samples: int = 256

    def __post_init__(self) -> None:
        if self.retrain < 0:
            raise ValueError("retrain must be at least 0")
        if not 1 <= self.samples <= 1024:
            raise ValueError("samples must be from 1 to 1024")


@dataclass(frozen=True)
class MtzOptions(ZipOptions):
    """``share`` is the fraction of the units of each layer, of the narrower of two sides, that are zipped."""

    share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError("share must be above 0 and at most 1")


def _retrained(state: Zipped, calibration: Calibration, steps: int, label: str) -> Zipped:
    if calibration.train is None or not calibration.targets:
        return state
    recipe = Recipe(steps, BATCH_SIZE, seed=calibration.seed)
    hook = tied(state.ties)
    net = fit(
        state.net, calibration.train, calibration.targets, recipe, calibration.progress, label=label, on_gradient=hook
    )
    return replace(state, net=net)


def zip_layers(
    net: MultitaskGraph, calibration: Calibration, spaces: Sequence[str], share: float, options: ZipOptions
) -> MultitaskGraph:
    """Zip the given spaces, in graph order, with light training after each, and make paired units one."""
    state = start(net, calibration.x[: options.samples])
    with calibration.progress.track(len(spaces), "zipping") as bar:
        for space in spaces:
            state = zip_space(state, space, share)
            state = _retrained(state, calibration, options.retrain, f"after {space}")
            bar.advance(1, space)
    return fuse(state)


@METHODS.register("mtz", options=MtzOptions)
def mtz(net: MultitaskGraph, calibration: Calibration, options: MtzOptions) -> MultitaskGraph:
    """Multi-Task Zipping: pair units by the difference of their functions, layer by layer, and merge their weights."""
    return zip_layers(net, calibration, net.prunable, options.share, options)
