"""What the files hold of a plan's parameters: as they are, as half, or as int8 with their scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pamc.graph.ops import Conv, DepthwiseConv, Linear
from pamc_exporters.onnx.quantize import quantized_params

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan

__all__ = ["WEIGHTED", "param_key", "stored_tensors"]

WEIGHTED = (Conv, DepthwiseConv, Linear)


def param_key(key: str, part: str = "") -> str:
    """Name of a stored part (``step``, ``zero``) of the plan's parameter ``key``."""
    return f"{key}:{part}" if part else key


def _as_stored(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _quantized(plan: Plan) -> dict[str, NDArray[np.generic]]:
    found: dict[str, NDArray[np.generic]] = {}
    for node in plan.graph.nodes:
        if not isinstance(node.op, WEIGHTED):
            found |= {key: plan.graph.params[key].astype(np.float32) for key in node.params.values()}
            continue
        arrays = quantized_params(plan, node)
        for role, key in node.params.items():
            found[key] = arrays[role]
            found[param_key(key, "step")] = arrays[f"{role}_step"]
            # Without zeros ONNX Runtime adds one of its own that does not fit a scale per row.
            found[param_key(key, "zero")] = np.zeros_like(arrays[f"{role}_step"], dtype=arrays[role].dtype)
    return found


def stored_tensors(plan: Plan) -> dict[str, NDArray[np.generic]]:
    """Every array that the files hold of a plan, contiguous and little-endian, by name.

    A parameter keeps its name; int8 adds ``<name>:step`` and ``<name>:zero``.
    """
    match plan.kind:
        case "int8":
            found = _quantized(plan)
        case "float16":
            found = {key: array.astype(np.float16) for key, array in plan.graph.params.items()}
        case _:
            found = {key: array.astype(np.float32) for key, array in plan.graph.params.items()}
    return {key: _as_stored(array) for key, array in found.items()}
