"""A plan as an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamc import __version__
from pamc.graph.ops import Input
from pamc.lower import load_target
from pamc_exporters.interface import input_name
from pamc_exporters.onnx.emit import Emitter, HalfEmitter
from pamc_exporters.onnx.qdq import QuantizedEmitter

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

    from pamc.lower import Plan
    from pamc_exporters.onnx.weights import Stored

__all__ = ["Emission", "emit_model", "wrap"]


@dataclass(frozen=True)
class Emission:
    """A model, the ONNX name of each of the plan's values in it, and the nodes that would show the stored ones.

    ``values`` are float32 or, where a value is only stored, 8-bit numbers; ``shown`` are names of float32 numbers,
    for which ``showing`` must be appended to the model's nodes.
    """

    model: ModelProto
    values: Mapping[str, str]
    shown: Mapping[str, str]
    showing: tuple[NodeProto, ...]


def wrap(graph: GraphProto, target: str, properties: Mapping[str, str]) -> ModelProto:
    """A model of a graph, as a target's runtimes read it; ``properties`` become ``metadata_props``."""
    from onnx import helper

    known = load_target(target)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", known.onnx_opset)],
        ir_version=known.onnx_ir_version,
        producer_name="pamc",
        producer_version=__version__,
    )
    own = {"pamc.target": target, "pamc.version": __version__}
    helper.set_model_props(model, dict(sorted({**properties, **own}.items())))
    return model


def _emitted(plan: Plan, stored: Mapping[str, Stored]) -> Emitter:
    emitters = {"float32": Emitter, "float16": HalfEmitter, "int8": QuantizedEmitter}
    emitter = emitters[plan.kind](plan, stored)
    for node in plan.graph.nodes:
        emitter.emit(node)
    return emitter


def _shown(emitter: Emitter) -> tuple[dict[str, str], dict[str, str], tuple[NodeProto, ...]]:
    """The names of the values, the names of their float32 numbers, and the nodes that yield these."""
    from onnx import helper

    if not isinstance(emitter, QuantizedEmitter):
        return emitter.names, emitter.names, ()
    stored = emitter.stored_as
    values = {name: emitter.names[name] for name in emitter.floats} | {name: held for name, (held, _) in stored.items()}
    shown = {name: f"{held}:shown" if name in stored else held for name, held in values.items()}
    showing = tuple(
        helper.make_node("DequantizeLinear", [held, *emitter.scale_names(scale)], [shown[name]])
        for name, (held, scale) in stored.items()
    )
    return values, shown, showing


def emit_model(plan: Plan, stored: Mapping[str, Stored], metadata: Mapping[str, str]) -> Emission:
    """The model of a plan, with the tensors in ``stored`` as references to weights.bin and the others inside.

    One input ``(n, *shape)``, one output ``(n, *shape)`` per task, named as the task. ``metadata`` becomes
    ``metadata_props`` beside pamc's own.
    """
    from onnx import TensorProto, helper

    graph = plan.graph
    emitter = _emitted(plan, stored)
    source = graph.input.op
    assert isinstance(source, Input)
    kind = TensorProto.UINT8 if source.dtype == "uint8" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(input_name(graph), kind, ["n", *source.shape])]
    outputs = [
        helper.make_tensor_value_info(task, TensorProto.FLOAT, ["n", *graph.shapes[value]])
        for task, value in graph.outputs.items()
    ]
    values, shown, showing = _shown(emitter)
    body = helper.make_graph(emitter.nodes, plan.task_set, inputs, outputs, [*emitter.initializers.values()])
    own = {"pamc.task_set": plan.task_set, "pamc.tasks": ",".join(graph.outputs)}
    return Emission(wrap(body, plan.target, {**metadata, **own}), values, shown, showing)
