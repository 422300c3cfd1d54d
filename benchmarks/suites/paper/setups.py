"""What the suites run on: data, networks, training and budgets, at three scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from benchmarks.suites.datasets import Sizes

__all__ = ["SCALES", "SUITES", "Networks", "Setup", "Suite"]

SCALES = ("smoke", "small", "full")

Options = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Networks:
    """The single-task networks: data set and architecture by name, and how they are trained (AdamW, one cycle)."""

    data: str
    sizes: Sizes
    net: str
    epochs: int
    data_options: Options = field(default_factory=dict)
    net_options: Options = field(default_factory=dict)
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05


@dataclass(frozen=True, slots=True)
class Setup:
    """One suite at one scale.

    ``max_drop`` is in points of validation accuracy, for every task. ``finetune`` and ``control`` are epochs: of a
    candidate of the search, and of the rows that train from new weights. ``pruners`` and ``merges`` are options by
    method.
    """

    networks: Networks
    seeds: int
    max_drop: float = 1.0
    finetune: int = 8
    control: int = 20
    batch: int = 128
    learning_rate: float = 1e-3
    pruners: Mapping[str, Options] = field(default_factory=dict)
    merges: Mapping[str, Options] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """A comparison of all rows."""

    name: str
    title: str
    setups: Mapping[str, Setup]


def _smoke(net: str, **options: object) -> Setup:
    """Every suite's network on the 5000 digits, as short as it can be: that all of it runs, not what comes out."""
    networks = Networks("digits", Sizes(1500, 500, 500), net, epochs=3, net_options=options)
    once: Options = {"step": 0.5, "recover": 5, "halvings": 0, "detours": 0, "attempts": 1, "restarts": 1}
    pruners = {name: dict(once) for name in ("taylor", "vib")}
    pruners["share"] = {**pruners["taylor"], "share_step": 0.3, "share_recover": 5}
    merges = {name: {"retrain": 5} for name in ("mtz", "branch")}
    return Setup(networks, seeds=1, max_drop=30.0, finetune=1, control=2, pruners=pruners, merges=merges)


SMALL = Sizes(4000, 2000, 4000)
STEPS: Options = {"step": 0.25, "recover": 40, "halvings": 1, "detours": 1, "attempts": 3, "restarts": 4}
# Sharing starts from the networks that row B1 has pruned, within their whole budgets.
QUICK: Mapping[str, Options] = {
    "taylor": STEPS,
    "vib": {**STEPS, "recover": 60},
    "share": {**STEPS, "alone": 1.0, "share_step": 0.15, "share_recover": 60},
}
# Convolutional networks on colour images take ten times as long a step, so they get a short search. When sharing, they
# bear small steps only.
ONCE: Options = {"step": 0.3, "halvings": 0, "detours": 0, "attempts": 1, "restarts": 1}
SHORT: Mapping[str, Options] = {
    "taylor": {**QUICK["taylor"], **ONCE},
    "vib": {**QUICK["vib"], **ONCE},
    "share": {**QUICK["share"], **ONCE, "alone": 0.5, "share_step": 0.06, "share_recover": 100},
}
# MTZ as published trains for 50 to 5000 mini-batches after a layer; a trunk of one width for all tasks needs many.
RETRAINED: Mapping[str, Options] = {name: {"retrain": 300} for name in ("mtz", "branch")}


def _small(data: str, net: str, seeds: int = 3, **options: object) -> Setup:
    """Few images and short training, for two CPU cores."""
    networks = Networks(data, SMALL, net, epochs=12, net_options=options)
    return Setup(
        networks, seeds, max_drop=1.0, finetune=12, control=25, learning_rate=3e-3, pruners=QUICK, merges=RETRAINED
    )


def _photos(net: str, **options: object) -> Setup:
    """The same on photographs, one seed, with a third of the training and twice the budget."""
    return replace(_small("cifar10mt", net, 1, **options), max_drop=2.0, finetune=4, control=8, pruners=SHORT)


_LIST = (
    Suite(
        "paper-table",
        "The paper's LeNet-5 table: composites of four garments, two tasks",
        {
            "smoke": _smoke("lenet-same"),
            "small": _small("composites", "lenet-same", seeds=2),
            "full": Setup(
                Networks(
                    "composites", Sizes(20_000, 4_000, 8_000), "lenet-same", epochs=60, data_options={"side": 124}
                ),
                seeds=3,
                finetune=20,
                control=80,
                merges=RETRAINED,
            ),
        },
    ),
    Suite(
        "mnist-5",
        "LeNet-5 on MNIST, five tasks",
        {
            "smoke": _smoke("lenet"),
            "small": _small("mnist5", "lenet"),
            "full": Setup(
                Networks("mnist5", Sizes(50_000, 10_000, 10_000), "lenet", epochs=20),
                seeds=3,
                finetune=10,
                control=30,
                merges=RETRAINED,
            ),
        },
    ),
    Suite(
        "fashion-4",
        "LeNet-5 on Fashion-MNIST, four tasks",
        {
            "smoke": _smoke("lenet"),
            "small": _small("fashion4", "lenet"),
            "full": Setup(
                Networks("fashion4", Sizes(50_000, 10_000, 10_000), "lenet", epochs=20),
                seeds=3,
                finetune=10,
                control=30,
                merges=RETRAINED,
            ),
        },
    ),
    Suite(
        "cifar-vgg",
        "A small VGG on CIFAR-10, four tasks",
        {
            "smoke": _smoke("vgg", width=4, hidden=16),
            "small": _photos("vgg", width=8, hidden=32),
            "full": Setup(
                Networks("cifar10mt", Sizes(40_000, 10_000, 10_000), "vgg", epochs=30, net_options={"width": 64}),
                seeds=3,
                finetune=20,
                control=50,
                merges=RETRAINED,
            ),
        },
    ),
    Suite(
        "cifar-resnet",
        "ResNet on CIFAR-10, four tasks",
        {
            "smoke": _smoke("resnet", width=4, blocks=1),
            "small": _photos("resnet", width=4, blocks=1),
            "full": Setup(
                Networks("cifar10mt", Sizes(40_000, 10_000, 10_000), "resnet", epochs=60),
                seeds=3,
                finetune=20,
                control=80,
                merges=RETRAINED,
            ),
        },
    ),
)

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in _LIST}
