"""Owners as bit masks: the read rule, the run rule, and groups.

Bit ``t`` of a unit's mask is set when it serves task ``t``. Masks are ``uint32``, so a network has at most 32 tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DTYPE",
    "Owners",
    "all_task_sets",
    "groups",
    "may_read",
    "members",
    "name_of",
    "renamed",
    "runs",
    "serving",
    "uniform_workload",
]

DTYPE = np.uint32
Owners = NDArray[np.uint32]


def may_read(readers: Owners, read: Owners) -> NDArray[np.bool_]:
    """The read rule as a matrix ``(len(readers), len(read))``: owners(u) <= owners(v), and u is alive."""
    reader, source = readers[:, None], read[None, :]
    allowed: NDArray[np.bool_] = ((reader & ~source) == 0) & (reader != 0)
    return allowed


def runs(owners: Owners, request: int) -> NDArray[np.bool_]:
    """The run rule: which units run when the tasks in ``request`` are asked for."""
    needed: NDArray[np.bool_] = (owners & DTYPE(request)) != 0
    return needed


def serving(owners: Owners, tasks: int) -> NDArray[np.bool_]:
    """Whether a unit serves each task: ``(tasks, units)``."""
    bits = np.left_shift(DTYPE(1), np.arange(tasks, dtype=DTYPE))
    served: NDArray[np.bool_] = (owners & bits[:, None]) != 0
    return served


def groups(owners: Owners) -> dict[int, NDArray[np.intp]]:
    """Units by owners, dead ones left out; most widely shared groups first, then by mask."""
    masks = sorted((int(mask) for mask in np.unique(owners) if mask), key=lambda mask: (-mask.bit_count(), mask))
    return {mask: np.flatnonzero(owners == mask) for mask in masks}


def renamed(owners: Owners, tasks: Sequence[str], into: Sequence[str]) -> Owners:
    """Masks over ``tasks`` as masks over ``into``; a task that is not among these is dropped."""
    masks = np.zeros_like(owners)
    for bit, task in enumerate(tasks):
        if task in into:
            masks |= ((owners >> DTYPE(bit)) & DTYPE(1)) << DTYPE(into.index(task))
    return masks


def members(mask: int) -> Iterator[int]:
    """Indices of the tasks in a mask, ascending."""
    return (task for task in range(mask.bit_length()) if mask >> task & 1)


def name_of(mask: int, tasks: Sequence[str]) -> str:
    """A task set in writing: ``age+smile``; ``-`` for nobody."""
    return "+".join(tasks[task] for task in members(mask)) or "-"


def all_task_sets(count: int) -> Iterable[int]:
    """Every non-empty task set of ``count`` tasks: small sets first, then in task order."""
    return sorted(range(1, 1 << count), key=lambda mask: (mask.bit_count(), [*members(mask)]))


def uniform_workload(count: int) -> Mapping[int, float]:
    """Equal probability for each of the ``2^count - 1`` task sets."""
    sets = list(all_task_sets(count))
    return {mask: 1.0 / len(sets) for mask in sets}
