"""Jobs in processes of their own: a failure, even a crash, stops only what needs its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Protocol

from pamc.errors import PamcError
from pamc.progress import Progress
from pamc.workers import DiedError, Done, Failed, Worker, end

__all__ = ["Display", "Job", "run_jobs"]


@dataclass(frozen=True)
class Job:
    """``call`` can be pickled and returns a line about what it did; it starts when the jobs ``needs`` are done."""

    name: str
    call: Callable[[], str]
    needs: tuple[str, ...] = ()


class Display(Protocol):
    """Shows how the jobs get on."""

    def started(self, name: str) -> None:
        """A job has a process."""

    def finished(self, name: str, line: str) -> None:
        """A job is done."""

    def failed(self, name: str, error: str) -> None:
        """A job is not done and will not be."""


@dataclass(frozen=True)
class _Running:
    worker: Worker
    began: float


def run_jobs(jobs: Sequence[Job], workers: int, display: Display) -> dict[str, str]:
    """Run all jobs, up to ``workers`` at a time, one thread each. Returns the errors by name."""
    waiting = {job.name: job for job in jobs}
    running: dict[str, _Running] = {}
    errors: dict[str, str] = {}

    def fail(name: str, error: str) -> None:
        errors[name] = error
        display.failed(name, error)

    with _one_thread(), _ended(running):
        while waiting or running:
            for job in [*waiting.values()]:
                broken = [name for name in job.needs if name in errors]
                if broken:
                    fail(waiting.pop(job.name).name, f"needs {broken[0]}, which failed")
                elif len(running) < workers and not any(name in waiting or name in running for name in job.needs):
                    running[job.name] = _Running(Worker.started(), time.monotonic())
                    running[job.name].worker.send(partial(_call, waiting.pop(job.name).call))
                    display.started(job.name)
            if running:
                wait([item.worker.pipe for item in running.values()])
            for name, item in [*running.items()]:
                if not item.worker.pipe.poll():
                    continue
                ok, text = _answer(item.worker)
                # The next job has a process, and the memory, of its own.
                end([running.pop(name).worker])
                if ok:
                    display.finished(name, f"{text} ({time.monotonic() - item.began:.1f} s)")
                else:
                    fail(name, text)
    return errors


def _call(call: Callable[[], str], _: Progress) -> str:
    return call()


def _answer(worker: Worker) -> tuple[bool, str]:
    try:
        told = worker.told()
    except DiedError as died:
        return False, str(died)
    match told:
        case Done(text):
            return True, str(text)
        case Failed(PamcError() as refused):
            return False, str(refused)
        case Failed(error):
            return False, error.__notes__[-1].rstrip()
    raise AssertionError(f"a job of a suite has no progress to tell: {told}")


@contextmanager
def _ended(running: dict[str, _Running]) -> Iterator[None]:
    try:
        yield
    finally:
        end(item.worker for item in running.values())


@contextmanager
def _one_thread() -> Iterator[None]:
    """What the processes inherit: threads that wait for each other must not spin on cores that others need."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    os.environ.update({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
