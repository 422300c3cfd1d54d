"""Progress as a person sees it: bars on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pamc.progress import Tracker

__all__ = ["PlainProgress", "RichProgress"]


class RichProgress:
    """Bars on the terminal of stderr; finished stages stay as lines with their time."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bars: Bars | None = None

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        """A line when the stage starts, and one with its time when it ends."""
        self.note(_join(name, detail))
        start = time.monotonic()
        yield
        self.note(f"{name}: done in {_seconds(time.monotonic() - start)}")

    @contextmanager
    def track(self, total: int, description: str) -> Iterator[Tracker]:
        """A bar; bars of nested work stand below each other."""
        outer = self._bars is None
        bars = self._bars or Bars(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
        )
        if outer:
            self._bars = bars
            bars.start()
        task = bars.add_task(description, total=total, note="")
        try:
            yield _Bar(bars, task)
        finally:
            bars.remove_task(task)
            if outer:
                bars.stop()
                self._bars = None

    def note(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(text, markup=False)


class _Bar:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bars.update(self._task, advance=n, note=note)
        else:
            self._bars.update(self._task, advance=n)


class PlainProgress:
    """Lines without any control characters; at most one line per `interval` seconds for counted work."""

    def __init__(self, stream: TextIO, *, interval: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        """A line when the stage starts, and one with its time when it ends."""
        self.note(_join(name, detail))
        start = self._clock()
        yield
        self.note(f"{name}: done in {_seconds(self._clock() - start)}")

    @contextmanager
    def track(self, total: int, description: str) -> Iterator[Tracker]:
        """A line now and then with the number of steps done."""
        yield _Lines(self.note, total, description, self._interval, self._clock)

    def note(self, text: str) -> None:
        """One line."""
        self._stream.write(text + "\n")
        self._stream.flush()


class _Lines:
    def __init__(
        self, say: Callable[[str], None], total: int, description: str, interval: float, clock: Callable[[], float]
    ) -> None:
        self._say = say
        self._total = total
        self._description = description
        self._interval = interval
        self._clock = clock
        self._done = 0
        self._next = clock() + interval

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval
            self._say("  " + _join(f"{self._description}: {self._done}/{self._total}", note))


def _join(name: str, detail: str) -> str:
    return f"{name}: {detail}" if detail else name


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"
