"""How the jobs of a suite get on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.suites.paper.jobs import Display, Job, run_jobs
from pamc.errors import EXIT_INTERRUPTED

__all__ = ["run_shown", "shown"]


class _Lines:
    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def tell(self, name: str, text: str) -> None:
        self.done += 1
        print(f"[{self.done}/{self.total}] {name}: {text}", flush=True)

    def started(self, name: str) -> None:
        return None

    def finished(self, name: str, line: str) -> None:
        self.tell(name, line)

    def failed(self, name: str, error: str) -> None:
        self.tell(name, f"FAILED: {error}")


class _Bar:
    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.task = progress.add_task("", total=total)
        self.running: list[str] = []

    def show(self) -> None:
        self.progress.update(self.task, description=escape(", ".join(self.running)))

    def started(self, name: str) -> None:
        self.running.append(name)
        self.show()

    def ended(self, name: str, text: str) -> None:
        if name in self.running:
            self.running.remove(name)
        self.progress.console.print(text)
        self.progress.advance(self.task)
        self.show()

    def finished(self, name: str, line: str) -> None:
        self.ended(name, f"[green]✓[/] {escape(name)}: {escape(line)}")

    def failed(self, name: str, error: str) -> None:
        self.ended(name, f"[red]✗[/] {escape(name)}: {escape(error)}")


@contextmanager
def shown(total: int) -> Iterator[Display]:
    """A display for ``total`` jobs on standard output."""
    console = Console()
    if not console.is_terminal:
        yield _Lines(total)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, total)


def run_shown(todo: Sequence[Job], workers: int) -> dict[str, str]:
    """Run jobs with a display. Returns the errors by name, and ends the program after Ctrl-C."""
    try:
        with shown(len(todo)) as display:
            return run_jobs(todo, workers, display)
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
