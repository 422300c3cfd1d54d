"""Runs a process of this machine under limits of time and output, and feeds it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Literal, cast

__all__ = ["OUTPUT_LIMIT", "Exchange", "end_session", "exchange"]

OUTPUT_LIMIT = 64 << 20
"""Bytes of stdout and stderr together that are kept of one process; one that writes more is stopped."""

_CHUNK = 1 << 16
# How soon the end of a process is seen whose children keep its pipes open, in seconds.
_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Exchange:
    """How a process ended: by itself, because its time was over, or because it wrote too much."""

    status: int
    stdout: bytes
    stderr: bytes
    how: Literal["ended", "timeout", "flood"]


def exchange(
    argv: Sequence[str],
    *,
    timeout: float,
    feed: Iterable[bytes] = (),
    hold: bool = False,
    sink: Callable[[bytes], object] | None = None,
    limit: int = OUTPUT_LIMIT,
    env: Mapping[str, str] | None = None,
) -> Exchange:
    """Run ``argv`` in a session of its own, with ``feed`` as its stdin, and end whatever is left of it.

    ``hold`` keeps stdin open after the last of ``feed`` until the process ends. ``sink`` takes stdout piece by piece
    and without a limit, instead of its being kept. ``timeout`` is in seconds. Raises OSError when the program cannot
    be started, and whatever ``feed`` and ``sink`` raise.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if env is None else dict(env),
        bufsize=0,
        start_new_session=True,
    )
    try:
        return _pump(process, iter(feed), hold, sink, limit, time.monotonic() + timeout)
    finally:
        end_session(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                # What is still in its buffer has no reader any more.
                with suppress(OSError):
                    stream.close()


def end_session(process: subprocess.Popen[bytes], patience: float = 1.0) -> None:
    """End a process that leads a session, with its children: asked first, by force after ``patience`` seconds."""
    with suppress(ProcessLookupError, PermissionError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _pump(
    process: subprocess.Popen[bytes],
    feed: Iterator[bytes],
    hold: bool,
    sink: Callable[[bytes], object] | None,
    limit: int,
    deadline: float,
) -> Exchange:
    assert process.stdin and process.stdout and process.stderr
    kept: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    how: Literal["ended", "timeout", "flood"] = "ended"
    pending = _next(feed)
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        gone: float | None = None
        while any(stream in selector.get_map() for stream in kept):
            now = time.monotonic()
            if now > deadline:
                how = "timeout"
                break
            if gone is None and process.poll() is not None:
                gone = now
            # A process that has ended and left its pipes to a child that lives on.
            if gone is not None and now > gone + 10 * _POLL:
                break
            for key, _ in selector.select(min(_POLL, deadline - now)):
                if key.fileobj is process.stdin:
                    pending = _write(process.stdin, pending, feed)
                    if not pending:
                        selector.unregister(process.stdin)
                        if not hold:
                            _close(process.stdin)
                    continue
                stream = cast(IO[bytes], key.fileobj)
                data = stream.read(_CHUNK)
                if not data:
                    selector.unregister(stream)
                elif stream is process.stdout and sink is not None:
                    sink(data)
                else:
                    kept[stream] += data
            if sum(map(len, kept.values())) > limit:
                how = "flood"
                break
    if how == "ended":
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    if process.poll() is None:
        how = "timeout" if how == "ended" else how
        end_session(process)
    status = process.returncode
    return Exchange(
        128 - status if status < 0 else status, bytes(kept[process.stdout]), bytes(kept[process.stderr]), how
    )


def _write(stdin: IO[bytes], pending: memoryview, feed: Iterator[bytes]) -> memoryview:
    """Write what fits; what is left. Empty when all was written, or nobody reads any more."""
    try:
        written = os.write(stdin.fileno(), pending[:_CHUNK]) if pending else 0
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        return memoryview(b"")
    return pending[written:] or _next(feed)


def _next(feed: Iterator[bytes]) -> memoryview:
    return memoryview(next((data for data in feed if data), b""))


def _close(stdin: IO[bytes]) -> None:
    with suppress(OSError):
        stdin.close()
