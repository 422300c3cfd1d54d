"""What to tell the user about calls that have no equivalent in the IR."""

from __future__ import annotations

__all__ = ["advice"]

_RECURRENT = ("recurrent layers are not supported", "leave recurrence out; pamc compiles feed-forward networks")
_ATTENTION = ("products of two values are not supported (attention)", "use convolutions, linear layers and poolings")
_NORM = ("normalisation with statistics of the sample is not supported", "use BatchNorm2d or BatchNorm1d")
_RESIZE = ("resizing is not supported", "leave the task's decoder out of the network")
_SPLIT = ("taking parts of a value is not supported", "give each part a layer of its own")
_ORDER = ("reordering channels or positions is not supported", "keep the order (n, C, H, W)")
_ACTIVATION = (
    "this activation is not supported",
    "use relu, relu6, sigmoid, tanh, silu, hardswish, hardsigmoid, leaky_relu, elu or gelu",
)
_RANDOM = ("its result is random", "draw random numbers in training only")
_LOOP = (
    "control flow that depends on the data is not supported",
    "compute every branch, or make a network per branch",
)
_ONE_D = ("only two-dimensional convolutions and poolings are supported", "view the data as (n, C, 1, length)")

_ADVICE = {
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"), _RECURRENT),
    **dict.fromkeys(("scaled_dot_product_attention", "bmm", "matmul", "mm", "baddbmm", "einsum"), _ATTENTION),
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_functional", "native_batch_norm"), _NORM),
    **dict.fromkeys(("layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "instance_norm"), _NORM),
    **dict.fromkeys(
        ("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "grid_sampler", "conv_transpose2d"), _RESIZE
    ),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "select", "narrow", "index"), _SPLIT),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "flip", "roll", "gather"), _ORDER),
    **dict.fromkeys(("selu", "mish", "softplus", "celu", "softsign", "log_sigmoid", "threshold", "glu"), _ACTIVATION),
    **dict.fromkeys(("rand", "randn", "rand_like", "randn_like", "bernoulli", "normal_functional"), _RANDOM),
    **dict.fromkeys(("cond", "while_loop", "map_impl", "scan"), _LOOP),
    **dict.fromkeys(("conv1d", "conv3d", "max_pool1d", "max_pool3d", "avg_pool1d", "avg_pool3d"), _ONE_D),
    "embedding": ("embeddings are not supported", "feed feature maps or vectors of numbers"),
}
_DEFAULT = ("this operation is not supported", "replace it by convolutions, linear layers, poolings and activations")


def advice(op: str) -> tuple[str, str]:
    """(why, cure) for an ATen operation without its namespace, such as ``lstm``."""
    return _ADVICE.get(op, _DEFAULT)
