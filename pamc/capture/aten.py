"""Layers, poolings and activations: from ATen calls to operations of the IR, one small function per call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pamc.capture.translation import Call, Converter, Ref, Unsupported, Value, registering
from pamc.graph.ops import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    GlobalAvgPool,
    Linear,
    MaxPool,
    PRelu,
    Softmax,
)

__all__ = ["CONVERTERS"]

CONVERTERS: dict[str, Converter] = {}

Pair = tuple[int, int]
_aten = registering(CONVERTERS)


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
    if slope is None:
        raise Unsupported("only slopes that are parameters are supported", "use PReLU, or LeakyReLU")
    if slope.size > 1:
        return call.emit(PRelu(), (call.value(),), "prelu", {"slope": slope.reshape(-1)})
    return _activation("leaky_relu", float(slope.reshape(())))(call)


def _softmax(name: str, op: Softmax) -> Converter:
    def convert(call: Call) -> Value:
        source = call.value()
        rank = len(call.builder.shapes[source]) + 1
        if call.integer("dim") % rank != 1:
            raise Unsupported(f"{name} over axis {call.integer('dim')} is not supported", f"use {name} over axis 1")
        return call.emit(op, (source,), name)

    return convert


_aten("softmax", "_softmax")(_softmax("softmax", Softmax()))
_aten("log_softmax", "_log_softmax")(_softmax("log_softmax", Softmax(log=True)))
