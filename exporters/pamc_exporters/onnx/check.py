"""What every model must pass before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pamc.errors import InternalError

if TYPE_CHECKING:
    from pamc.lower import Plan
    from pamc_exporters.onnx.model import Emission

__all__ = ["check_file", "check_shapes"]

_CURE = "this is a bug in pamc; please report it with the model.yaml"


def check_shapes(emission: Emission, plan: Plan) -> None:
    """InternalError when ONNX infers another shape for some value than the plan has."""
    from onnx import shape_inference

    try:
        inferred = shape_inference.infer_shapes(emission.model, check_type=True, strict_mode=True, data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise InternalError(f"the model of {plan.task_set} has no valid shapes: {error}", cure=_CURE) from error
    found = {
        info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim[1:])
        for info in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    for value, name in emission.values.items():
        if found.get(name) != plan.graph.shapes[value]:
            raise InternalError(
                f"{value} in the model of {plan.task_set} has the shape {found.get(name)}, "
                f"should be {plan.graph.shapes[value]}",
                cure=_CURE,
            )


def check_file(path: Path, task_set: str) -> None:
    """InternalError when the model in ``path``, beside its weights, is not valid ONNX."""
    from onnx import checker
    from onnx.shape_inference import InferenceError

    try:
        checker.check_model(str(path), full_check=True)
    except (checker.ValidationError, InferenceError) as error:
        raise InternalError(f"the model of {task_set} is not valid ONNX: {error}", cure=_CURE) from error
