"""Task sets as text: `a+b`, always in the model's task order."""

from collections.abc import Iterable, Sequence
from itertools import combinations

__all__ = ["all_task_sets", "parse_task_set", "sort_task_sets", "task_set_text"]


def task_set_text(names: Iterable[str]) -> str:
    """`a+b` for names that are already in task order."""
    return "+".join(names)


def parse_task_set(text: str, tasks: Sequence[str]) -> str:
    """`text` with its tasks in the order of `tasks`; ValueError naming an unknown, repeated or missing task."""
    names = [name.strip() for name in text.split("+")]
    for position, name in enumerate(names):
        if not name:
            raise ValueError(f"'{text}' is not a task set; write it as {task_set_text(tasks[:2])}")
        if name not in tasks:
            raise UnknownTaskError(name)
        if name in names[:position]:
            raise ValueError(f"task '{name}' appears twice in '{text}'")
    return task_set_text(name for name in tasks if name in names)


class UnknownTaskError(ValueError):
    """A task set names a task that does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown task '{name}'")
        self.name = name


def all_task_sets(tasks: Sequence[str]) -> tuple[str, ...]:
    """All 2^N-1 task sets: small ones first, then in task order."""
    return tuple(task_set_text(c) for size in range(1, len(tasks) + 1) for c in combinations(tasks, size))


def sort_task_sets(sets: Iterable[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """Canonical task sets in the order of `all_task_sets`."""
    index = {name: position for position, name in enumerate(tasks)}
    keyed = ([index[name] for name in text.split("+")] for text in sets)
    return tuple(task_set_text(tasks[i] for i in key) for key in sorted(keyed, key=lambda k: (len(k), k)))
