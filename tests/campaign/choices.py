"""Where the campaign's decisions come from: a seed, hypothesis, or a list that is being shrunk.

A decision is a number below a bound. All three sources make the same networks from the same numbers, and smaller
numbers always mean simpler networks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import hypothesis.strategies as st

__all__ = ["Choices", "choices", "replay", "seeded", "shrink"]

T = TypeVar("T")


class Choices:
    """Decisions drawn from ``below(n)``, a number of 0 to n-1; ``made`` is what was drawn so far."""

    def __init__(self, below: Callable[[int], int]) -> None:
        self._below = below
        self.made: list[int] = []

    def __repr__(self) -> str:
        return f"replay({self.made})"

    def below(self, bound: int) -> int:
        self.made.append(self._below(bound))
        return self.made[-1]

    def between(self, low: int, high: int) -> int:
        """A number of ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options, the simplest of which is the first."""
        return options[self.below(len(options))]

    def flag(self, one_in: int = 2) -> bool:
        """True once in ``one_in`` times."""
        return self.below(one_in) == one_in - 1

    def seed(self) -> int:
        """A seed for numbers that need no shrinking: weights, inputs, owners."""
        return self.below(1 << 16)


def seeded(seed: int) -> Choices:
    """Decisions that follow from a seed."""
    return Choices(random.Random(seed).randrange)


def replay(made: Sequence[int]) -> Choices:
    """The decisions of a list, cut to their bounds; 0 after its end."""
    left = iter(made)
    return Choices(lambda bound: min(next(left, 0), bound - 1))


@st.composite
def choices(draw: st.DrawFn) -> Choices:
    """Decisions that hypothesis makes, and shrinks."""
    return Choices(lambda bound: draw(st.integers(0, bound - 1)))


def _smaller(made: list[int]) -> list[list[int]]:
    # Coarse cuts first: they decide whether the fine ones are cheap.
    size, cuts = len(made) // 2, []
    while size:
        cuts += [made[:start] + made[start + size :] for start in range(0, len(made), size)]
        size //= 2
    lower = [
        [*made[:place], value, *made[place + 1 :]]
        for place, now in enumerate(made)
        for value in sorted({0, now // 2, now - 1})
        if 0 <= value < now
    ]
    return cuts + lower


def shrink(made: Sequence[int], fails: Callable[[Choices], bool], attempts: int = 2000) -> list[int]:
    """A shorter or smaller list of decisions for which ``fails`` still holds; greedy, so not the smallest there is."""
    best = list(made)
    progress = True
    while progress and attempts:
        progress = False
        for candidate in _smaller(best):
            if not attempts:
                break
            attempts -= 1
            tried = replay(candidate)
            if fails(tried) and (len(tried.made), tried.made) < (len(best), best):
                best, progress = tried.made, True
                break
    return best
