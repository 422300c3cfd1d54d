"""The networks that are compared: those of the paper's suites, and those of the digits example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.suites.datasets import Sizes
from benchmarks.suites.paper.setups import SUITES as PAPER
from benchmarks.suites.paper.setups import Suite

__all__ = ["PRUNER", "SUITES"]

PRUNER = "taylor"
"""The pruner of the paper's suites whose cells are taken."""


def _digits() -> Suite:
    fashion = PAPER["fashion-4"].setups
    sizes = {"small": Sizes(3000, 1000, 1000), "full": Sizes(3000, 1000, 1000)}
    networks = {scale: replace(fashion[scale].networks, data="digits", sizes=sizes[scale]) for scale in sizes}
    setups = {scale: replace(fashion[scale], networks=networks[scale]) for scale in sizes}
    return Suite("digits", "LeNet-5 on 5000 MNIST digits, three tasks", {"smoke": fashion["smoke"], **setups})


SUITES: Mapping[str, Suite] = {
    suite.name: suite for suite in (_digits(), *(PAPER[name] for name in ("fashion-4", "cifar-vgg", "cifar-resnet")))
}
