"""What a pruner may add to training."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pamc.graph.interpret import Reading

__all__ = ["Regulariser"]


class Regulariser(nn.Module):
    """A penalty on the loss, and gates on what units' readers see.

    Its own parameters, if it has any, train along with the weights, from the learning rate ``rate`` down.
    """

    rate: float = 1e-3

    def reading(self, samples: int) -> Reading | None:
        """How values are read in one forward pass over a mini-batch of ``samples``; None leaves them as they are."""
        return None

    def penalty(self, param: Callable[[str], Tensor]) -> Tensor:
        """What is added to the loss, a scalar; ``param(key)`` is a parameter of the graph."""
        raise NotImplementedError
