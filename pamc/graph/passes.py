"""Rewrites of plain graphs that keep the function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pamc.graph.ir import Graph, Node, frozen_array
from pamc.graph.ops import BatchNorm, ChannelAffine, Conv, DepthwiseConv, Linear

__all__ = ["batch_norm_affine", "fold_batch_norm"]


def batch_norm_affine(graph: Graph, node: Node) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift ``(channels,)`` that a batch norm amounts to in inference."""
    assert isinstance(node.op, BatchNorm)
    gamma, beta, mean, var = (graph.array(node, role).astype(np.float64) for role in ("gamma", "beta", "mean", "var"))
    scale = gamma / np.sqrt(var + node.op.eps)
    return scale, beta - mean * scale


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every batch norm into the layer before it, or turn it into a ChannelAffine where that is not possible.

    A layer can absorb the norm when the norm is the only reader of its value. Folding is done in float64.
    """
    nodes: dict[str, Node] = {node.name: node for node in graph.nodes}
    params: dict[str, NDArray[np.floating]] = dict(graph.params)
    renamed: dict[str, str] = {}
    outputs = set(graph.outputs.values())
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            continue
        scale, shift = batch_norm_affine(graph, node)
        for key in node.params.values():
            del params[key]
        source = graph.by_name[node.inputs[0]]
        alone = len(graph.consumers[source.name]) == 1 and source.name not in outputs
        dtype = graph.array(node, "gamma").dtype
        if alone and isinstance(source.op, Conv | DepthwiseConv | Linear):
            layer = nodes[source.name]
            weight_key = layer.params["weight"]
            bias_key = layer.params.get("bias", f"{layer.name}.bias")
            weight = params[weight_key].astype(np.float64)
            bias = params[bias_key].astype(np.float64) if "bias" in layer.params else np.zeros(len(scale))
            params[weight_key] = (weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(dtype)
            params[bias_key] = (bias * scale + shift).astype(dtype)
            nodes[source.name] = Node(
                layer.name, layer.op, layer.inputs, {"weight": weight_key, "bias": bias_key}, layer.origin
            )
            del nodes[node.name]
            renamed[node.name] = source.name
        else:
            keys = {"scale": f"{node.name}.scale", "shift": f"{node.name}.shift"}
            params[keys["scale"]], params[keys["shift"]] = scale.astype(dtype), shift.astype(dtype)
            nodes[node.name] = Node(node.name, ChannelAffine(), node.inputs, keys, node.origin)
    rewired = tuple(
        Node(node.name, node.op, tuple(renamed.get(name, name) for name in node.inputs), node.params, node.origin)
        for node in nodes.values()
    )
    return Graph(
        rewired,
        {name: renamed.get(value, value) for name, value in graph.outputs.items()},
        {key: frozen_array(array) for key, array in params.items()},
    )
