"""What the compiler tells about its progress; how it is shown is up to the caller."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Progress", "QuietProgress", "Tracker"]


class Tracker(Protocol):
    """A counted piece of work in progress."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more steps as done; `note` replaces the note shown beside the bar."""


class Progress(Protocol):
    """Receives stages, counted work and notes."""

    def stage(self, name: str, detail: str = "") -> AbstractContextManager[None]:
        """One stage of a build, entered when it starts and left when it ends."""

    def track(self, total: int, description: str) -> AbstractContextManager[Tracker]:
        """Counted work of `total` steps."""

    def note(self, text: str) -> None:
        """One line worth reading."""


class _QuietTracker:
    def advance(self, n: int = 1, note: str = "") -> None:
        return None


class QuietProgress:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        yield

    @contextmanager
    def track(self, total: int, description: str) -> Iterator[Tracker]:
        yield _QuietTracker()

    def note(self, text: str) -> None:
        return None
