"""The best of several finished networks, task by task.

What a task answers does not depend on units that it does not own. So every way to take each task from one of several
networks is a finished network too: its accuracies are known, and its cost is a sum. The cheapest way is found exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pamc.graph import MultitaskGraph, compact, costs_by_tasks, restrict, stack, tighten
from pamc.graph.owners import DTYPE, members

__all__ = ["Block", "cheapest_blocks", "joined", "macs_of_sets"]

Table = NDArray[np.float64]
"""A value for each mask of tasks, ``(2^tasks,)``."""

TIE = 1 - 1e-9
MOST_TASKS = 8
"""With more tasks only the largest and the smallest blocks are tried: each is a network to count."""


@dataclass(frozen=True, slots=True)
class Block:
    """Tasks, a mask, that one of the networks serves."""

    net: MultitaskGraph
    tasks: int

    @property
    def macs(self) -> Table:
        """What the tasks cost once the units have no other owners.

        That can be more than in the network: without the task that kept units of two groups apart they are one group,
        and read each other.
        """
        mine = {space: owners & DTYPE(self.tasks) for space, owners in self.net.owners.items()}
        return macs_of_sets(tighten(self.net.with_owners(mine)))


def macs_of_sets(net: MultitaskGraph) -> Table:
    """Multiply-accumulates of every task set, 0 for the empty one."""
    sets = np.arange(1 << len(net.tasks))
    found = np.zeros(len(sets))
    for mask, cost in costs_by_tasks(net).items():
        found += np.where(sets & mask, cost.macs, 0)
    return found


def cheapest_blocks(
    nets: Sequence[MultitaskGraph], workload: Mapping[int, float], most: Table | None = None
) -> Sequence[Block]:
    """Blocks of all tasks, each a network's, with the least expected cost; of equal ones those of earlier networks.

    All networks have the same tasks. ``most`` is what each task set may cost at most; at least one of the networks must
    keep it for every single task. The expected cost is the sum of the blocks' own: a dynamic program over the networks
    and the masks of the tasks that are served by then.
    """
    sets = np.arange(1 << len(nets[0].tasks))
    chances = np.array([workload.get(request, 0.0) for request in range(len(sets))])
    best = np.full(len(sets), np.inf)
    best[0] = 0.0
    taken = []
    for net in nets:
        after, chosen = best.copy(), np.zeros_like(sets)
        for tasks in _choices(len(net.tasks)):
            macs = Block(net, tasks).macs
            if most is not None and (macs > most).any():
                continue
            before = sets[(sets & tasks) == 0]
            total = best[before] + chances @ macs
            better = total < TIE * after[before | tasks]
            after[(before | tasks)[better]] = total[better]
            chosen[(before | tasks)[better]] = tasks
        best = after
        taken.append(chosen)
    blocks, left = [], len(sets) - 1
    for net, chosen in zip(reversed(nets), reversed(taken), strict=True):
        if chosen[left]:
            blocks.append(Block(net, int(chosen[left])))
            left ^= int(chosen[left])
    return sorted(blocks, key=lambda block: block.tasks & -block.tasks)


def joined(whole: MultitaskGraph, blocks: Iterable[Block]) -> MultitaskGraph:
    """The networks of the blocks side by side in the graph of ``whole``, which has all tasks; compact."""
    parts = [restrict(block.net, [block.net.tasks[task] for task in members(block.tasks)]) for block in blocks]
    return compact(stack(whole, parts))


def _choices(tasks: int) -> Iterable[int]:
    """The masks of the tasks that a network may serve."""
    everyone = (1 << tasks) - 1
    if tasks <= MOST_TASKS:
        return range(1, everyone + 1)
    singles = [1 << task for task in range(tasks)]
    return [*singles, *(everyone ^ task for task in singles), everyone]
