"""Arithmetic and shapes: from ATen calls to operations of the IR, one small function per call."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.capture.translation import Call, Const, Converter, Ref, Unsupported, Value, registering
from pamc.graph.ops import Add, ChannelAffine, Concat, Mul, Op

__all__ = ["CONVERTERS"]

CONVERTERS: dict[str, Converter] = {}

_aten = registering(CONVERTERS)


def _per_channel(constant: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The constant as one number per channel of a value of the given shape."""
    full = (1,) * (1 + len(shape) - constant.ndim) + constant.shape
    if len(full) != 1 + len(shape) or full[0] != 1 or full[1] not in (1, shape[0]) or math.prod(full[2:]) != 1:
        raise Unsupported(
            f"a constant of shape {constant.shape} meets a value of shape {shape} per sample",
            "constants may differ by channel only: shape (1, C, 1, 1)",
        )
    return np.array(np.broadcast_to(constant.reshape(-1), (shape[0],)))


def _array(item: object) -> NDArray[np.float64]:
    if isinstance(item, Const):
        array: NDArray[np.float64] = item.value.detach().cpu().double().numpy()
        return array
    if not isinstance(item, int | float):
        raise Unsupported("the other operand depends on the batch size", "use a number or a buffer")
    return np.asarray(item, dtype=np.float64)


def _affine(call: Call, ref: Ref, scale: object, shift: object, suffix: str) -> Ref:
    source = call.builder.value(replace(ref, expanded=None))
    shape = call.builder.shapes[source]
    trainable = any(isinstance(item, Const) and item.trainable for item in (scale, shift))
    vectors = {"scale": _per_channel(_array(scale), shape), "shift": _per_channel(_array(shift), shape)}
    made = call.emit(ChannelAffine(frozen=not trainable), (source,), suffix, vectors)
    return replace(made, expanded=ref.expanded)


def _scaled(factor: float, item: object) -> object:
    """``factor * item`` for a constant item."""
    if isinstance(item, Const):
        return Const(item.value * factor, item.trainable)
    return item * factor if isinstance(item, int | float) else item


def _pairwise(call: Call, op: Op, left: Ref, right: Ref) -> Ref:
    if len(left.seen) != len(right.seen):
        raise Unsupported(
            f"values of shapes {left.seen} and {right.seen} per sample are broadcast", "view both as (n, C, H, W)"
        )
    names = tuple(call.builder.value(replace(ref, expanded=None)) for ref in (left, right))
    made = call.emit(op, names, op.kind)
    return made if call.out in (None, made.shape) else replace(made, expanded=call.out)


def _sum(call: Call, left: object, right: object, sign: float) -> Value:
    """``left + sign * right``."""
    if isinstance(left, Ref) and isinstance(right, Ref):
        if sign != 1:
            right = _affine(call, right, sign, 0.0, "scale")
        return _pairwise(call, Add(), left, right)
    if isinstance(left, Ref):
        return _affine(call, left, 1.0, _scaled(sign, right), "shift")
    assert isinstance(right, Ref)
    return _affine(call, right, sign, left, "shift")


@_aten("add")
def _add(call: Call) -> Value:
    return _sum(call, call.args["self"], call.args["other"], call.number("alpha", 1))


@_aten("sub")
def _sub(call: Call) -> Value:
    return _sum(call, call.args["self"], call.args["other"], -call.number("alpha", 1))


@_aten("rsub")
def _rsub(call: Call) -> Value:
    return _sum(call, call.args["other"], call.args["self"], -call.number("alpha", 1))


@_aten("mul")
def _mul(call: Call) -> Value:
    left, right = call.args["self"], call.args["other"]
    if isinstance(left, Ref) and isinstance(right, Ref):
        return _pairwise(call, Mul(), left, right)
    ref, constant = (left, right) if isinstance(left, Ref) else (right, left)
    assert isinstance(ref, Ref)
    return _affine(call, ref, constant, 0.0, "scale")


@_aten("div")
def _div(call: Call) -> Value:
    left, right = call.args["self"], call.args["other"]
    if not isinstance(left, Ref) or isinstance(right, Ref) or call.args.get("rounding_mode") is not None:
        raise Unsupported("only division by a constant is supported", "divide by a number or a buffer")
    trainable = isinstance(right, Const) and right.trainable
    inverse = Const(torch.as_tensor(1.0 / _array(right)), trainable)
    return _affine(call, left, inverse, 0.0, "scale")


@_aten("neg")
def _neg(call: Call) -> Value:
    return _affine(call, call.ref(), -1.0, 0.0, "scale")


@_aten("cat")
def _cat(call: Call) -> Value:
    parts = call.args["tensors"]
    assert isinstance(parts, list | tuple)
    if not all(isinstance(part, Ref) for part in parts):
        raise Unsupported("constants in a concatenation are not supported", "concatenate values of the network only")
    names = tuple(call.builder.value(part) for part in parts)
    if call.integer("dim") % (len(parts[0].seen) + 1) != 1:
        raise Unsupported("only a concatenation of channels is supported", "use torch.cat(..., dim=1)")
    return parts[0] if len(parts) == 1 else call.emit(Concat(), names, "concat")


# ---------------------------------------------------------------- shapes


@_aten("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "unflatten", "_reshape_copy")
def _view(call: Call) -> Value:
    source = call.ref()
    if call.out is None:
        raise Unsupported("the reshape mixes the batch with other axes", "keep axis 0: flatten(1), view(x.size(0), -1)")
    if source.expanded is not None or source.pad != (0, 0):
        call.builder.value(source)
    return source if call.out == source.shape else replace(source, shape=call.out, site=call.site)


@_aten("permute", "transpose")
def _permute(call: Call) -> Value:
    source = call.ref()
    rank = len(source.seen) + 1
    order = list(range(rank))
    if "dims" in call.args:
        order = [axis % rank for axis in call.numbers("dims")]
    else:
        first, second = (call.integer(name) % rank for name in ("dim0", "dim1"))
        order[first], order[second] = second, first
    moving = [axis for axis in order[1:] if source.seen[axis - 1] != 1] if order[0] == 0 else [1, 0]
    if moving != sorted(moving):
        raise Unsupported("reordering axes is not supported", "keep the order (n, C, H, W)")
    return _view(call)


@_aten("expand")
def _expand(call: Call) -> Value:
    source = call.ref()
    if call.out == source.seen:
        return source
    shape = source.shape
    if call.out is None or len(call.out) != len(shape) or call.out[0] != shape[0] or math.prod(shape[1:]) != 1:
        raise Unsupported("only a (C, 1, 1) value may be expanded over positions", "leave the broadcasting to + and *")
    return replace(source, expanded=call.out)


@_aten("pad", "constant_pad_nd")
def _pad(call: Call) -> Value:
    widths = call.numbers("pad")
    if not any(widths):
        return call.ref()
    if call.args.get("mode", "constant") != "constant" or call.number("value", 0) != 0:
        raise Unsupported("only padding with zeros is supported", "use the convolution's own padding")
    left, right, top, bottom = (*widths, 0, 0, 0, 0)[:4]
    if left != right or top != bottom or min(widths) < 0 or any(widths[4:]) or len(call.shape()) != 3:
        raise Unsupported(f"padding of {list(widths)} is not symmetric", "pad left and right, top and bottom equally")
    source = call.ref()
    return replace(source, pad=(source.pad[0] + top, source.pad[1] + left))


@_aten("slice")
def _slice(call: Call) -> Value:
    if call.out == call.shape() and call.args.get("step", 1) == 1:
        return call.ref()
    raise Unsupported("taking a part of a value is not supported", "give each part a layer of its own")


# ---------------------------------------------------------------- nothing to do


@_aten("clone", "detach", "alias", "contiguous", "lift_fresh_copy", "lift_fresh", "view_as")
def _same(call: Call) -> Value:
    return call.ref()


@_aten("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout")
def _dropout(call: Call) -> Value:
    if call.args.get("train") is not False:
        raise Unsupported("it drops values in inference too", "pass training=self.training, or use nn.Dropout")
    return call.ref("input")


@_aten("_to_copy", "to")
def _to(call: Call) -> Value:
    dtype = call.args.get("dtype")
    if dtype is not None and not getattr(dtype, "is_floating_point", False):
        raise Unsupported(f"a conversion to {dtype} is not supported", "keep floating point inside the network")
    return call.ref()
