"""Work that does not depend on other work, at the same time, in processes of its own.

A network that is trained on one thread leaves all but one core idle. A job is a function that its process can be sent:
one of a module, with arguments that can be pickled. What it returns must not depend on where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import TracebackType
from typing import Protocol, Self, TypeVar

from pamc.errors import InternalError
from pamc.progress import Progress
from pamc.workers import DiedError, Done, Failed, Note, Worker, end

__all__ = ["InProcesses", "InTurn", "Job", "Jobs"]

T = TypeVar("T")

Job = Callable[[Progress], T]
"""What tells the progress that it is given how far it is, and returns its result."""


class Jobs(Protocol):
    """Runs jobs, by their names."""

    def run(self, jobs: Mapping[str, Job[T]]) -> list[T]:
        """The results, in the order of the jobs. The first error ends all."""


@dataclass(frozen=True)
class InTurn:
    """One after another, in this process."""

    progress: Progress

    def run(self, jobs: Mapping[str, Job[T]]) -> list[T]:
        return [job(self.progress) for job in jobs.values()]


class InProcesses:
    """In up to ``count`` processes, which are started when they are first needed and stopped on leaving.

    Processes are spawned, so a script that builds needs the usual ``if __name__ == "__main__":``.
    """

    def __init__(self, count: int, progress: Progress) -> None:
        self._count = count
        self._progress = progress
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._workers)
        self._workers.clear()

    def run(self, jobs: Mapping[str, Job[T]]) -> list[T]:
        """As promised. Raises InternalError where a process ends before its job does."""
        processes = min(self._count, len(jobs))
        if processes < 2:
            return InTurn(self._progress).run(jobs)
        while len(self._workers) < processes:
            self._workers.append(Worker.started())
        waiting, idle = list(jobs), self._workers[:processes]
        busy: dict[object, tuple[Worker, str]] = {}
        found: dict[str, T] = {}
        with self._progress.track(len(jobs), f"in {processes} processes") as tracker:
            while len(found) < len(jobs):
                while idle and waiting:
                    worker, name = idle.pop(), waiting.pop(0)
                    worker.send(jobs[name])
                    busy[worker.pipe] = worker, name
                for pipe in wait([worker.pipe for worker, _ in busy.values()]):
                    worker, name = busy[pipe]
                    match _told(worker, name):
                        case Note(text):
                            self._progress.note(f"{name}: {text}")
                        case Failed(error):
                            raise error
                        case Done(result):
                            found[name] = result
                            idle.append(busy.pop(pipe)[0])
                            self._progress.note(f"{name}: done")
                            tracker.advance()
        return [found[name] for name in jobs]


def _told(worker: Worker, name: str) -> Note | Done | Failed:
    try:
        return worker.told()
    except DiedError as error:
        killed = "the system kills processes when memory runs out; each of them holds the data"
        raise InternalError(
            f"{name}: {error}",
            why=killed if error.code < 0 else None,
            cure="--jobs 1; what is finished is taken from the cache",
        ) from error
