"""Work that does not depend on other work, at the same time, in processes of its own.

A network that is trained on one thread leaves all but one core idle. A job is a function that its process can be sent:
one of a module, with arguments that can be pickled. What it returns must not depend on where it runs.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from pamc.errors import InternalError
from pamc.progress import Progress, QuietProgress

__all__ = ["InProcesses", "InTurn", "Job", "Jobs"]

T = TypeVar("T")

Job = Callable[[Progress], T]
"""What tells the progress that it is given how far it is, and returns its result."""

PATIENCE = 5.0


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
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.pipe.close()
            worker.process.join(PATIENCE)
            worker.process.kill()
            worker.process.join()
        self._workers.clear()

    def run(self, jobs: Mapping[str, Job[T]]) -> list[T]:
        """As promised. Raises InternalError where a process ends before its job does."""
        processes = min(self._count, len(jobs))
        if processes < 2:
            return InTurn(self._progress).run(jobs)
        while len(self._workers) < processes:
            self._workers.append(_started())
        waiting, idle = list(jobs), self._workers[:processes]
        busy: dict[object, tuple[_Worker, str]] = {}
        found: dict[str, T] = {}
        with self._progress.track(len(jobs), f"in {processes} processes") as tracker:
            while len(found) < len(jobs):
                while idle and waiting:
                    worker, name = idle.pop(), waiting.pop(0)
                    worker.pipe.send(jobs[name])
                    busy[worker.pipe] = worker, name
                for pipe in wait([worker.pipe for worker, _ in busy.values()]):
                    worker, name = busy[pipe]
                    what, value = _received(worker, name)
                    if what == "note":
                        self._progress.note(f"{name}: {value}")
                        continue
                    if what == "failed":
                        raise value
                    found[name] = value
                    idle.append(busy.pop(pipe)[0])
                    self._progress.note(f"{name}: done")
                    tracker.advance()
        return [found[name] for name in jobs]


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection[Any, Any]


def _started() -> _Worker:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    # So that the pipe ends when the process does.
    there.close()
    return _Worker(process, here)


def _received(worker: _Worker, name: str) -> tuple[str, Any]:
    try:
        told: tuple[str, Any] = worker.pipe.recv()
    except (EOFError, OSError) as error:
        worker.process.join(PATIENCE)
        code = worker.process.exitcode or 0
        raise InternalError(
            f"{name}: its process ended without a result (exit code {code})",
            why="the system kills processes when memory runs out; each of them holds the data" if code < 0 else None,
            cure="--jobs 1; what is finished is taken from the cache",
        ) from error
    return told


def _serve(pipe: Connection[Any, Any]) -> None:
    """What a process does: jobs, until nobody sends any or reads what they tell."""
    # Ctrl-C reaches every process of a terminal; who started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An exception, so that files are closed and none is left half-written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            job: Job[object] = pipe.recv()
            pipe.send(_outcome(job, _Told(pipe)))
    except (EOFError, BrokenPipeError, _UnheardError):
        return


def _outcome(job: Job[object], progress: Progress) -> tuple[str, object]:
    try:
        return "done", job(progress)
    except _UnheardError:
        raise
    except Exception as error:
        error.add_note(traceback.format_exc())
        return "failed", error


class _UnheardError(Exception):
    """The process that started this one is gone."""


class _Told(QuietProgress):
    """Passes on what is worth reading."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def note(self, text: str) -> None:
        try:
            self._pipe.send(("note", text))
        except OSError as error:
            raise _UnheardError from error
