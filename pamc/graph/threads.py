"""How many threads PyTorch uses for a piece of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["takes_threads", "threads_for"]

WORTH_IT = 5e8


def takes_threads(macs: float) -> bool:
    """Whether a call of so many ``macs`` is worth more than one thread."""
    return macs >= WORTH_IT


@contextmanager
def threads_for(macs: float) -> Iterator[None]:
    """One thread where a call takes few ``macs``, else as many as PyTorch has.

    Handing a small layer to several threads takes longer than computing it. And their number decides in which order
    sums are taken: so small networks come out the same on any number of cores.
    """
    before = torch.get_num_threads()
    if not takes_threads(macs):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
