"""What every model must pass before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pamc.errors import InternalError
from pamc_exporters.onnx.emit import value_names

if TYPE_CHECKING:
    from onnx import ModelProto

    from pamc.lower import Plan

__all__ = ["check_file", "check_shapes"]

_CURE = "this is a bug in pamc; please report it with the model.yaml"


def check_shapes(model: ModelProto, plan: Plan) -> None:
    """InternalError when ONNX infers another shape for some value than the plan has."""
    from onnx import shape_inference

    try:
        inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise InternalError(f"the model of {plan.task_set} has no valid shapes: {error}", cure=_CURE) from error
    found = {
        info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim[1:])
        for info in (*inferred.graph.value_info, *inferred.graph.output)
    }
    names = value_names(plan.graph)
    for node in plan.graph.nodes[1:]:
        if found.get(names[node.name]) != plan.graph.shapes[node.name]:
            raise InternalError(
                f"{node.name} in the model of {plan.task_set} has the shape {found.get(names[node.name])}, "
                f"should be {plan.graph.shapes[node.name]}",
                cure=_CURE,
            )


def check_file(path: Path, plan: Plan) -> None:
    """InternalError when the model in ``path``, beside its weights, is not valid ONNX."""
    from onnx import checker
    from onnx.shape_inference import InferenceError

    try:
        checker.check_model(str(path), full_check=True)
    except (checker.ValidationError, InferenceError) as error:
        raise InternalError(f"the model of {plan.task_set} is not valid ONNX: {error}", cure=_CURE) from error
