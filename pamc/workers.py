"""Processes that work for this one and end with it, however that happens."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any, Self

from pamc.progress import Progress, QuietProgress

__all__ = ["DiedError", "Done", "Failed", "Note", "Worker", "end"]

PATIENCE = 5.0


@dataclass(frozen=True)
class Note:
    """What a job says on the way."""

    text: str


@dataclass(frozen=True)
class Done:
    """What a job returned."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """What a job raised; the last of its notes is the traceback."""

    error: Exception


class DiedError(Exception):
    """A process ended before its job did; ``code`` is its exit code, below zero the signal that ended it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"its process ended without a result (exit code {code})")
        self.code = code


@dataclass(frozen=True)
class Worker:
    """A process that does one job at a time, as often as it is sent one."""

    process: BaseProcess
    pipe: Connection[Any, Any]

    @classmethod
    def started(cls) -> Self:
        """A fresh interpreter: a fork of a process that uses threads, as torch does, may hang."""
        context = get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there,), daemon=True)
        process.start()
        # So that the pipe ends when the process does.
        there.close()
        return cls(process, here)

    def send(self, job: Callable[[Progress], object]) -> None:
        """Have it do a job: a function of a module, with arguments that can be pickled."""
        self.pipe.send(job)

    def told(self) -> Note | Done | Failed:
        """The next thing that it says. Raises DiedError where it says nothing any more."""
        try:
            told: Note | Done | Failed = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join(PATIENCE)
            raise DiedError(self.process.exitcode or 0) from error
        return told


def end(workers: Iterable[Worker]) -> None:
    """End processes, whatever they do, and wait until they are gone."""
    ended = [*workers]
    for worker in ended:
        worker.process.terminate()
    for worker in ended:
        worker.pipe.close()
        worker.process.join(PATIENCE)
        worker.process.kill()
        worker.process.join()


def _serve(pipe: Connection[Any, Any]) -> None:
    # Ctrl-C reaches every process of a terminal; who started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An exception, so that files are closed and none is left half-written.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            job: Callable[[Progress], object] = pipe.recv()
            pipe.send(_outcome(job, _Told(pipe)))
    except (EOFError, BrokenPipeError):
        return


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _outcome(job: Callable[[Progress], object], progress: Progress) -> Done | Failed:
    try:
        return Done(job(progress))
    except Exception as error:
        error.add_note(traceback.format_exc())
        return Failed(_sent(error))


def _sent(error: Exception) -> Exception:
    """The error, or where that cannot be sent, as those of others may not, one that says the same."""
    try:
        # As the pipe does.
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        other = RuntimeError(f"{type(error).__name__}: {error}")
        other.add_note(error.__notes__[-1])
        return other
    return error


class _Told(QuietProgress):
    """Passes on what is worth reading."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def note(self, text: str) -> None:
        self._pipe.send(Note(text))
