"""From ATen calls to operations of the IR: one small function per call, registered by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.capture.translation import Call, Const, Converter, Ref, Unsupported, Value
from pamc.graph.ops import (
    Activation,
    Add,
    AvgPool,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv,
    DepthwiseConv,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Mul,
    Op,
    Softmax,
)

__all__ = ["CONVERTERS"]

CONVERTERS: dict[str, Converter] = {}

Pair = tuple[int, int]


def _aten(*names: str) -> Callable[[Converter], Converter]:
    def add(function: Converter) -> Converter:
        CONVERTERS.update({f"aten.{name}": function for name in names})
        return function

    return add


# ---------------------------------------------------------------- layers


def _padding(call: Call, kernel: Pair, dilation: Pair) -> Pair:
    given = call.args.get("padding")
    if given == "valid":
        return 0, 0
    if given == "same":
        total = [dilation[axis] * (kernel[axis] - 1) for axis in (0, 1)]
        if any(size % 2 for size in total):
            raise Unsupported("padding='same' of an even kernel pads more on one side", "use an odd kernel size")
        return total[0] // 2, total[1] // 2
    return call.pair("padding", (0, 0))


@_aten("conv2d", "convolution")
def _conv(call: Call) -> Value:
    if call.args.get("transposed"):
        raise Unsupported("a transposed convolution is not supported", "leave the task's decoder out of the network")
    source, weight = call.ref("input"), call.constant("weight")
    if weight is None or weight.ndim != 4:
        raise Unsupported("only two-dimensional convolutions are supported", "use Conv2d on (n, C, H, W)")
    inner = call.builder.value(replace(source, pad=(0, 0)))
    shape = call.builder.shapes[inner]
    if len(shape) != 3:
        raise Unsupported(f"its input has the shape {shape} per sample", "feed it (C, H, W) feature maps")
    kernel = (weight.shape[2], weight.shape[3])
    dilation = call.pair("dilation", (1, 1))
    padding = _padding(call, kernel, dilation)
    padding = (padding[0] + source.pad[0], padding[1] + source.pad[1])
    stride = call.pair("stride", (1, 1))
    groups = call.integer("groups", 1)
    params = {"weight": weight, "bias": call.constant("bias")}
    if groups == 1:
        return call.emit(Conv(kernel, stride, padding, dilation), (inner,), "conv", params, exact=True)
    if groups != shape[0]:
        raise Unsupported(f"a convolution with {groups} groups is not supported", "use groups=1, or one per channel")
    if weight.shape[0] != groups:
        factor = weight.shape[0] // groups
        raise Unsupported(
            f"a depthwise convolution with {factor} filters per channel is not supported", "use one filter per channel"
        )
    return call.emit(DepthwiseConv(kernel, stride, padding, dilation), (inner,), "conv", params, exact=True)


@_aten("linear")
def _linear(call: Call) -> Value:
    source = call.value("input")
    if len(call.builder.shapes[source]) != 1:
        raise Unsupported(
            f"a linear layer over the last axis of {call.builder.shapes[source]} is not supported",
            "flatten(1) before it, or use a 1x1 Conv2d",
        )
    params = {"weight": call.constant("weight"), "bias": call.constant("bias")}
    return call.emit(Linear(), (source,), "linear", params, exact=True)


@_aten("addmm")
def _addmm(call: Call) -> Value:
    weight, bias = call.constant("mat2"), call.constant("self")
    if weight is None or bias is None or bias.ndim != 1 or call.number("beta", 1) != 1 or call.number("alpha", 1) != 1:
        raise Unsupported("a matrix product of this form is not supported", "use nn.Linear")
    return call.emit(Linear(), (call.value("mat1"),), "linear", {"weight": weight.T, "bias": bias}, exact=True)


@_aten("_native_batch_norm_legit_no_training", "batch_norm", "cudnn_batch_norm")
def _batch_norm(call: Call) -> Value:
    if call.args.get("training"):
        raise Unsupported("it normalises with the batch's own statistics", "use track_running_stats=True and eval()")
    source = call.value("input")
    mean, var = call.constant("running_mean"), call.constant("running_var")
    if mean is None or var is None:
        raise Unsupported("it keeps no running statistics", "use track_running_stats=True")
    gamma, beta = call.constant("weight"), call.constant("bias")
    params = {
        "gamma": np.ones_like(mean) if gamma is None else gamma,
        "beta": np.zeros_like(mean) if beta is None else beta,
        "mean": mean,
        "var": var,
    }
    return (call.emit(BatchNorm(call.number("eps", 1e-5)), (source,), "norm", params, exact=True),)


# ---------------------------------------------------------------- pooling


def _max_pool(call: Call) -> Ref:
    kernel = call.pair("kernel_size")
    if call.pair("dilation", (1, 1)) != (1, 1):
        raise Unsupported("max pooling with dilation is not supported", "use dilation=1")
    op = MaxPool(kernel, call.pair("stride", kernel), call.pair("padding", (0, 0)), bool(call.args.get("ceil_mode")))
    return call.emit(op, (call.feature_map(),), "max_pool")


@_aten("max_pool2d")
def _max_pool2d(call: Call) -> Value:
    return _max_pool(call)


@_aten("max_pool2d_with_indices")
def _max_pool2d_with_indices(call: Call) -> Value:
    return (_max_pool(call),)


@_aten("avg_pool2d")
def _avg_pool2d(call: Call) -> Value:
    kernel = call.pair("kernel_size")
    if call.args.get("divisor_override") is not None:
        raise Unsupported("average pooling with a divisor of its own is not supported", "drop divisor_override")
    op = AvgPool(
        kernel, call.pair("stride", kernel), call.pair("padding", (0, 0)), bool(call.args.get("count_include_pad"))
    )
    source = call.feature_map()
    if call.args.get("ceil_mode") and call.out != op.out_shape([call.builder.shapes[source]], None):
        raise Unsupported("average pooling with ceil_mode has partial windows here", "use ceil_mode=False")
    return call.emit(op, (source,), "avg_pool")


def _adaptive(call: Call) -> tuple[str, Pair]:
    source = call.feature_map()
    _, *size = call.builder.shapes[source]
    wanted = call.pair("output_size")
    if any(have % want for have, want in zip(size, wanted, strict=True)):
        raise Unsupported(
            f"{size[0]}x{size[1]} positions cannot be pooled to {wanted[0]}x{wanted[1]} in equal windows",
            "use an output size that divides the input's",
        )
    return source, (size[0] // wanted[0], size[1] // wanted[1])


@_aten("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool2d(call: Call) -> Value:
    source, window = _adaptive(call)
    if window == (1, 1):
        return call.ref()
    if call.pair("output_size") == (1, 1):
        return call.emit(GlobalAvgPool(), (source,), "global_pool")
    return call.emit(AvgPool(window, window), (source,), "avg_pool")


@_aten("adaptive_max_pool2d")
def _adaptive_max_pool2d(call: Call) -> Value:
    source, window = _adaptive(call)
    if window == (1, 1):
        return (call.ref(),)
    return (call.emit(MaxPool(window, window), (source,), "max_pool"),)


@_aten("mean")
def _mean(call: Call) -> Value:
    source = call.ref()
    real = call.builder.shapes[source.node]
    rank = len(source.seen) + 1
    axes = {axis % rank for axis in call.numbers("dim")}
    maps = source.seen == real and axes == {2, 3}
    flat = len(real) == 3 and source.seen == (real[0], real[1] * real[2]) and axes == {2}
    if not (maps or flat) or source.pad != (0, 0) or call.out is None:
        raise Unsupported("only the mean over all positions of a feature map is supported", "use mean((2, 3))")
    pooled = call.emit(GlobalAvgPool(), (source.node,), "global_pool")
    return replace(pooled, shape=call.out)


# ---------------------------------------------------------------- activations


def _activation(function: str, alpha: float = 0.0) -> Converter:
    def convert(call: Call) -> Value:
        return call.emit(Activation(function, alpha), (call.value(),), function)

    return convert


for _name in ("relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid"):
    _aten(_name)(_activation(_name))


@_aten("hardtanh", "clamp", "clamp_min")
def _clamp(call: Call) -> Value:
    low = call.args.get("min_val", call.args.get("min"))
    high = call.args.get("max_val", call.args.get("max"))
    if low == 0 and high in (6, None):
        return _activation("relu" if high is None else "relu6")(call)
    raise Unsupported(f"clamping to [{low}, {high}] is not supported", "use clamp(min=0) or clamp(0, 6)")


@_aten("leaky_relu")
def _leaky_relu(call: Call) -> Value:
    return _activation("leaky_relu", call.number("negative_slope", 0.01))(call)


@_aten("elu")
def _elu(call: Call) -> Value:
    if call.number("scale", 1) != 1 or call.number("input_scale", 1) != 1:
        raise Unsupported("elu with a scale is not supported", "use elu without scale")
    return _activation("elu", call.number("alpha", 1))(call)


@_aten("gelu")
def _gelu(call: Call) -> Value:
    if call.args.get("approximate", "none") != "none":
        raise Unsupported("the tanh approximation of gelu is not supported", "use approximate='none'")
    return _activation("gelu")(call)


@_aten("prelu", "_prelu_kernel")
def _prelu(call: Call) -> Value:
    slope = call.constant("weight")
    if slope is None or slope.size != 1:
        raise Unsupported("a slope per channel is not supported", "use num_parameters=1, or LeakyReLU")
    return _activation("leaky_relu", float(slope.reshape(())))(call)


@_aten("softmax", "_softmax")
def _softmax(call: Call) -> Value:
    source = call.value()
    rank = len(call.builder.shapes[source]) + 1
    if call.integer("dim") % rank != 1:
        raise Unsupported(f"softmax over axis {call.integer('dim')} is not supported", "use softmax over axis 1")
    return call.emit(Softmax(), (source,), "softmax")


# ---------------------------------------------------------------- arithmetic


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
