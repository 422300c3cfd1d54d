"""Golden vectors: inputs and what the network answers in PyTorch, so that a device can prove itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.graph import MultitaskGraph
    from pamc.lower import Numerics

__all__ = ["SAMPLES", "Vectors", "golden_vectors", "select_samples"]

SAMPLES = 16


@dataclass(frozen=True)
class Vectors:
    """``input`` of shape ``(n, *input shape)`` and float32 ``outputs`` by task, each ``(n, *output shape)``."""

    input: NDArray[np.generic]
    outputs: dict[str, NDArray[np.float32]]

    def to_bytes(self) -> bytes:
        """The content of vectors.safetensors: ``input`` and ``output:<task>``."""
        from safetensors.numpy import save

        arrays = {f"output:{task}": array for task, array in self.outputs.items()}
        return bytes(
            save({name: np.ascontiguousarray(array) for name, array in {"input": self.input, **arrays}.items()})
        )


def select_samples(x: NDArray[np.generic], seed: int, count: int = SAMPLES) -> NDArray[np.generic]:
    """At most ``count`` samples of ``x`` in their order, chosen by ``seed``. Raises ConfigError when there are none."""
    if len(x) == 0:
        raise ConfigError("there are no samples to verify with", cure="let the data function return at least one")
    chosen = np.random.default_rng(seed).permutation(len(x))[:count]
    picked: NDArray[np.generic] = x[np.sort(chosen)]
    return picked


def golden_vectors(
    net: MultitaskGraph, x: NDArray[np.generic], seed: int, count: int = SAMPLES, numerics: Numerics | None = None
) -> Vectors:
    """Samples of ``x`` and what the multitask network computes for them with these ``numerics`` (default: float32)."""
    from pamc.lower.numerics import FLOAT32
    from pamc.verify.reference import reference_outputs

    chosen = select_samples(x, seed, count)
    outputs = reference_outputs(net, numerics or FLOAT32, chosen)
    return Vectors(chosen, {task: outputs[task].astype(np.float32) for task in net.tasks})
