"""Jobs in processes of their own: a failure, even a crash, stops only what needs its result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from pamc.errors import PamcError

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
    job: Job
    process: BaseProcess
    answer: Connection
    began: float


def run_jobs(jobs: Sequence[Job], workers: int, display: Display) -> dict[str, str]:
    """Run all jobs, up to ``workers`` at a time, one thread each. Returns the errors by name.

    On KeyboardInterrupt, and on SIGTERM, which ends this process with code 143, the processes are ended first.
    """
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
                    with _uninterrupted():
                        running[job.name] = _start(waiting.pop(job.name))
                    display.started(job.name)
            if running:
                wait([item.answer for item in running.values()])
            for name, item in [*running.items()]:
                if not item.answer.poll():
                    continue
                ok, text = _answer(item)
                item.process.join()
                del running[name]
                if ok:
                    display.finished(name, f"{text} ({time.monotonic() - item.began:.1f} s)")
                else:
                    fail(name, text)
    return errors


def _start(job: Job) -> _Running:
    # Fresh interpreters: a fork of a process that uses threads, as torch does, may hang.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job.call, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Running(job, process, ours, time.monotonic())


def _work(call: Callable[[], str], answer: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        told = True, call()
    except PamcError as error:
        told = False, str(error)
    except Exception:
        told = False, traceback.format_exc().rstrip()
    with suppress(BrokenPipeError):  # nobody is left to be told
        answer.send(told)


def _answer(item: _Running) -> tuple[bool, str]:
    try:
        ok, text = item.answer.recv()
    except EOFError:
        item.process.join()
        return False, f"its process ended with code {item.process.exitcode}"
    return bool(ok), str(text)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals to end wait: between its start and the note of it a process would be ended by nobody."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _ended(running: dict[str, _Running]) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for item in running.values():
            item.process.terminate()
        for item in running.values():
            item.process.join()


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
