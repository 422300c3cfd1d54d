"""The picture of owners: a row per task, a column per unit."""

from __future__ import annotations

import re

import numpy as np

from pamc.graph.owners import DTYPE
from pamc.ownership import FREE, OWNED, WIDTH, ownership_view
from tests.prune.nets import separate


def _rows(text: str) -> dict[str, list[tuple[str, int]]]:
    """By space: the drawing and the number of every task's row."""
    found: dict[str, list[tuple[str, int]]] = {}
    space = ""
    for line in text.splitlines()[2:]:
        if heading := re.match(r"(\S+): \d+ units", line):
            space = heading.group(1)
        else:
            _, drawing, number = line.split()
            found.setdefault(space, []).append((drawing, int(number)))
    return found


def test_every_unit_is_a_column_with_the_tasks_that_own_it() -> None:
    net = separate()
    space = min(net.prunable, key=lambda name: len(net.owners[name]))
    owners = net.owners[space].copy()
    owners[:] = 2
    owners[:3] = [7, 0, 5]
    shown = _rows(ownership_view(net.with_owners({**net.owners, space: owners.astype(DTYPE)})).text)[space]
    rest = len(owners) - 3
    assert [drawing for drawing, _ in shown] == [
        OWNED * 2 + FREE * rest,
        OWNED + FREE + OWNED * rest,
        OWNED * 2 + FREE * rest,
    ]
    assert [number for _, number in shown] == [2, rest + 1, 2]


def test_wide_spaces_are_drawn_to_scale_and_keep_their_smallest_group() -> None:
    net = separate()
    space = max(net.prunable, key=lambda name: len(net.owners[name]))
    owners = np.full(len(net.owners[space]), 4, DTYPE)
    assert len(owners) > 2 * WIDTH
    owners[0] = 7
    owners[1 : len(owners) // 2] = 1
    rows = _rows(ownership_view(net.with_owners({**net.owners, space: owners})).text)[space]
    drawings = [drawing for drawing, _ in rows]
    assert all(abs(len(drawing) - WIDTH) <= 2 for drawing in drawings)
    assert [drawing[0] for drawing in drawings] == [OWNED] * 3
    assert abs(drawings[0].count(OWNED) - WIDTH / 2) <= 1
    assert drawings[1].count(OWNED) == 1
