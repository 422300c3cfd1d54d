"""How networks look from outside, the same in every format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.graph import Graph

__all__ = ["check_batch", "input_name"]


def input_name(graph: Graph) -> str:
    """Name of the input. Outputs are called as their tasks, and a task may be called input."""
    return "input" if "input" not in graph.outputs else "network_input"


def check_batch(x: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    """ConfigError unless ``x`` is a batch ``(n, *shape)`` of ``dtype`` with n of at least 1."""
    wanted = f"({', '.join(map(str, ('n', *shape)))}) {dtype}"
    if not isinstance(x, np.ndarray):
        raise ConfigError(f"the input is {type(x).__name__}, expected a NumPy array {wanted}")
    if x.dtype != dtype or x.shape[1:] != shape or x.ndim == 0 or len(x) == 0:
        raise ConfigError(
            f"the input has shape {x.shape} and dtype {x.dtype}, expected {wanted}",
            cure=f"convert it with x.astype('{dtype}')" if x.dtype != dtype else None,
        )
