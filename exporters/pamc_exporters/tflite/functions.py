"""Activation functions and softmax, as int8 where the value that they read is, and as float32 elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pamc.graph.ops import Activation, Softmax
from pamc_exporters.tflite.draft import FUSED, Draft, Held
from pamc_exporters.tflite.scales import FIXED, Scale

__all__ = ["activation", "softmax"]


def _native(code: str) -> Callable[[Draft, Held, Scale | None, float], Held]:
    return lambda draft, x, scale, _: draft.add(code, [x.tensor], draft.like(x, scale))


def _exact(draft: Draft, code: str, name: str, x: Held, scale: Scale | None, table: str = "", **fields: float) -> Held:
    """A function whose kernel demands its own int8 scale."""
    output = draft.like(x, None if scale is None else FIXED[name])
    return draft.convert(draft.add(code, [x.tensor], output, table, **fields), scale)


def _sigmoid(draft: Draft, x: Held, scale: Scale | None, _: float = 0.0) -> Held:
    return _exact(draft, "LOGISTIC", "sigmoid", x, scale)


def _tanh(draft: Draft, x: Held, scale: Scale | None, _: float) -> Held:
    return _exact(draft, "TANH", "tanh", x, scale)


def _silu(draft: Draft, x: Held, scale: Scale | None, _: float) -> Held:
    gate = _sigmoid(draft, x, None if scale is None else FIXED["sigmoid"])
    return draft.add("MUL", [x.tensor, gate.tensor], draft.like(x, scale), "MulOptions")


def _gelu(draft: Draft, x: Held, scale: Scale | None, _: float) -> Held:
    return draft.add("GELU", [x.tensor], draft.like(x, scale), "GeluOptions")


def _leaky_relu(draft: Draft, x: Held, scale: Scale | None, alpha: float) -> Held:
    return draft.add("LEAKY_RELU", [x.tensor], draft.like(x, scale), "LeakyReluOptions", alpha=alpha)


def _in_float(function: Callable[[Draft, Held, float], Held]) -> Callable[[Draft, Held, Scale | None, float], Held]:
    """A function without an int8 kernel."""
    return lambda draft, x, scale, alpha: draft.convert(function(draft, draft.convert(x, None), alpha), scale)


def _hardsigmoid(draft: Draft, x: Held, _: float) -> Held:
    three, sixth = (draft.constant(np.array(value, np.float32)) for value in (3.0, 1.0 / 6.0))
    inside = draft.like(x, None)
    draft.add("ADD", [x.tensor, three], inside, "AddOptions", fusedActivationFunction=FUSED["relu6"])
    return draft.add("MUL", [inside.tensor, sixth], draft.like(x, None), "MulOptions")


def _elu(draft: Draft, x: Held, alpha: float) -> Held:
    # TFLite has it for an alpha of 1 alone. It keeps the sign, so the negative side can be scaled afterwards.
    whole = draft.add("ELU", [x.tensor], draft.like(x, None))
    return whole if alpha == 1.0 else _leaky_relu(draft, whole, None, alpha)


_FUNCTIONS: Mapping[str, Callable[[Draft, Held, Scale | None, float], Held]] = {
    "relu": _native("RELU"),
    "relu6": _native("RELU6"),
    "hardswish": _native("HARD_SWISH"),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "silu": _silu,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "hardsigmoid": _in_float(_hardsigmoid),
    "elu": _in_float(_elu),
}


def activation(draft: Draft, op: Activation, x: Held, scale: Scale | None) -> Held:
    """``op`` of a value; int8 of ``scale`` where it is given."""
    return _FUNCTIONS[op.function](draft, x, scale, op.alpha)


def softmax(draft: Draft, op: Softmax, x: Held, scale: Scale | None) -> Held:
    """Softmax over the last axis, or its logarithm."""
    if op.log:
        return _exact(draft, "LOG_SOFTMAX", "log_softmax", x, scale, "LogSoftmaxOptions")
    return _exact(draft, "SOFTMAX", "softmax", x, scale, "SoftmaxOptions", beta=1.0)
