"""A multitask graph as a PyTorch module whose masks follow the owners."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pamc.graph import MultitaskGraph, Node
from pamc.graph.interpret import run
from pamc.graph.ops import BatchNorm, ChannelAffine
from pamc.train.regulariser import Regulariser

__all__ = ["MultitaskModule"]


def _channels_last(tensor: Tensor) -> Tensor:
    """The same values in the order in which convolutions and, above all, pooling are quickest on a CPU."""
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class MultitaskModule(nn.Module):
    """Trains a :class:`MultitaskGraph`. The read rule multiplies every weight, so forbidden links carry neither
    values nor gradients; constants of the input pipeline do not move. A ``regulariser`` acts in training mode alone.

    ``forward(x)`` takes ``(n, *input shape)`` and returns the raw outputs ``(n, ...)`` by task.
    """

    def __init__(self, net: MultitaskGraph, regulariser: Regulariser | None = None) -> None:
        super().__init__()
        self.net = net
        self.regulariser = regulariser
        self._slot = {key: f"p{number}" for number, key in enumerate(net.graph.params)}
        trained = {
            key
            for node in net.graph.nodes
            for role, key in node.params.items()
            if not (isinstance(node.op, ChannelAffine) and node.op.frozen)
            and not (isinstance(node.op, BatchNorm) and role in ("mean", "var"))
        }
        for key, array in net.graph.params.items():
            tensor = _channels_last(torch.tensor(array))
            if key in trained:
                self.register_parameter(self._slot[key], nn.Parameter(tensor))
            else:
                self.register_buffer(self._slot[key], tensor)
        self._mask: dict[str, str] = {}
        for number, node in enumerate(net.graph.nodes):
            mask = net.mask(node)
            if mask is not None and not mask.all():
                self._mask[node.name] = f"m{number}"
                weight = net.graph.array(node, "weight")
                shaped = torch.tensor(mask.reshape(*mask.shape, *(1,) * (weight.ndim - 2)), dtype=torch.float32)
                self.register_buffer(self._mask[node.name], _channels_last(shaped))

    def param(self, key: str) -> Tensor:
        """The tensor that holds a parameter of the graph (unmasked)."""
        tensor: Tensor = getattr(self, self._slot[key])
        return tensor

    def _lookup(self, node: Node, role: str) -> Tensor:
        tensor = self.param(node.params[role])
        if role == "weight" and node.name in self._mask:
            masked: Tensor = tensor * getattr(self, self._mask[node.name])
            return masked
        return tensor

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of every task."""
        graph = self.net.graph
        active = self.regulariser if self.training else None
        reading = None if active is None else active.reading(len(x))
        values = run(graph, x, self._lookup, training=self.training, reading=reading)
        return {task: values[value] for task, value in graph.outputs.items()}

    def to_graph(self) -> MultitaskGraph:
        """The network with the weights trained so far."""
        return self.net.with_params(
            {key: self.param(key).detach().cpu().contiguous().numpy() for key in self.net.graph.params}
        )
