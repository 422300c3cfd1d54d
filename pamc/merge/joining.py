"""Giving paired units their common weights, and keeping these equal in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pamc.graph import Graph, Node
from pamc.graph.ops import BatchNorm, PRelu
from pamc.graph.owners import members
from pamc.merge.clusters import Tie, Zipped, tasks_of
from pamc.merge.layers import Layer, measured
from pamc.merge.quadratic import Values, merged_weights
from pamc.train import MultitaskModule

__all__ = ["join", "tied"]

Params = dict[str, NDArray[np.floating]]


def _ties(state: Zipped, layer: Layer) -> list[Tie]:
    """The channels of a layer that are to become equal: one tie for all clusters of the same tasks."""
    layout = state.net.spaces.layouts[layer.node.name]
    masks = sorted({int(mask) for seg in layout for mask in tasks_of(state.units[seg.space])})
    ties = []
    for mask in masks:
        tasks = list(members(state.serves(layer, mask)))
        if len(tasks) > 1:
            rows = {task: state.channels(layout, task, mask, exact=True) for task in tasks}
            ties.append(state.tie(layer, rows))
    return ties


def join(state: Zipped, layer: Layer) -> Zipped:
    """Give the paired channels of a layer their merged weights.

    A norm is folded in for this. Afterwards the layer holds the merged weights, and the norm the mean and variance of
    what these yield, so that training, which takes them from mini-batches, sees the same network.
    """
    ties = _ties(state, layer)
    if not ties:
        return state
    if isinstance(layer.node.op, PRelu):
        return _sloped(state, layer.node, ties)
    graph, moments = state.net.graph, state.moments(layer)
    weight, bias = layer.effective(graph)
    held = layer.raw(graph)
    joined = np.zeros(len(bias), dtype=bool)
    for tie in ties:
        merged = merged_weights(
            [tie.weights(weight, bias, task) for task in tie.rows], [moments.of(tie, task) for task in tie.rows]
        )
        inputs = merged.shape[1] - layer.biased
        for task, rows in tie.rows.items():
            joined[rows] = True
            if layer.mixes:
                held[rows] = 0
                held[np.ix_(rows, tie.columns[task])] = merged[:, :inputs]
            else:
                held[rows] = merged[:, :inputs]
            if layer.biased:
                bias[rows] = merged[:, inputs].mean(axis=1)
    norm = layer.node if isinstance(layer.node.op, BatchNorm) else layer.norm
    shift = bias if norm is None else np.zeros_like(bias)
    new = {"weight": held, "scale": held, "bias": shift, "shift": shift}
    graph = _replaced(graph, layer.node, {role: new[role] for role in layer.node.params if role in new}, joined)
    if norm is not None:
        scale = held[:, 0, 0] if norm is layer.node else np.ones_like(bias)
        graph = _normed(graph, norm, ties, scale, bias, joined, state.x)
    return replace(state, net=replace(state.net, graph=graph), ties=(*state.ties, *ties))


def _sloped(state: Zipped, node: Node, ties: Sequence[Tie]) -> Zipped:
    """Give the paired channels of a PReLU the mean of their slopes."""
    held = state.net.graph.array(node, "slope")
    slopes = held.astype(np.float64)
    _even_out(slopes, ties)
    graph = state.net.graph.with_params({node.params["slope"]: slopes.astype(held.dtype)})
    return replace(state, net=replace(state.net, graph=graph), ties=(*state.ties, *ties))


def _even_out(figure: Values, ties: Sequence[Tie]) -> None:
    """Give paired channels the mean of what they have, in place."""
    for tie in ties:
        common = np.mean([figure[rows] for rows in tie.rows.values()], axis=0)
        for rows in tie.rows.values():
            figure[rows] = common


def _replaced(graph: Graph, node: Node, values: dict[str, Values], joined: NDArray[np.bool_]) -> Graph:
    """The graph with new parameters, by role, for the joined channels of a node."""
    params: Params = {}
    for role, value in values.items():
        params[node.params[role]] = array = np.array(graph.array(node, role))
        array[joined] = value.reshape(array.shape)[joined]
    return graph.with_params(params)


def _normed(
    graph: Graph,
    norm: Node,
    ties: Sequence[Tie],
    scale: Values,
    shift: Values,
    joined: NDArray[np.bool_],
    x: NDArray[np.generic],
) -> Graph:
    """The graph with a norm that maps joined channels x to ``scale * x + shift`` by the statistics of x."""
    assert isinstance(norm.op, BatchNorm)
    mean, var = measured(graph, norm.inputs[0], x)
    for figure in (mean, var):
        _even_out(figure, ties)
    values = {"gamma": scale * np.sqrt(var + norm.op.eps), "beta": shift + scale * mean, "mean": mean, "var": var}
    return _replaced(graph, norm, values, joined)


def tied(ties: Sequence[Tie]) -> Callable[[MultitaskModule], None]:
    """A hook for training that adds the gradients of tied weights up, so that they stay equal, and stops the rest."""

    def add_up(module: MultitaskModule) -> None:
        for tie in ties:
            for node in filter(None, (tie.layer.node, tie.layer.norm)):
                for role, key in node.params.items():
                    grad = module.param(key).grad
                    if grad is not None:
                        _add_up(grad, tie, mixes=tie.layer.mixes and role == "weight")

    return add_up


def _add_up(grad: Tensor, tie: Tie, *, mixes: bool) -> None:
    rows = {task: torch.as_tensor(index, device=grad.device) for task, index in tie.rows.items()}
    if not mixes:
        total = torch.stack([grad[index] for index in rows.values()]).sum(dim=0)
        for index in rows.values():
            grad[index] = total
        return
    table = grad.view(len(grad), -1, tie.layer.taps)
    blocks = {
        task: (index[:, None], torch.as_tensor(tie.columns[task], device=grad.device)) for task, index in rows.items()
    }
    total = torch.stack([table[block] for block in blocks.values()]).sum(dim=0)
    for task, index in rows.items():
        table[index] = 0
        table[blocks[task]] = total
