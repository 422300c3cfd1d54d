"""Tells what a script said from what came before it, and a complete answer from one that was cut off.

Each script of `scripts/` writes a token of its call on a line of stdout and of stderr when it starts, and at its very
end, on a line of stderr, the token with the exit status of the command and how that ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pamc_devices.base import Result
from pamc_devices.process import Exchange

__all__ = ["After", "Answer", "read_answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script answered. ``how`` is "ended", "timeout", or "input" when the command's input found no place.

    ``result`` is None when no complete answer came; ``said`` is what the script, or the transport in its place, wrote
    to stderr.
    """

    started: bool
    said: str
    result: Result | None = None
    how: str = "ended"


class After:
    """A sink that passes on what comes after the line of a token."""

    def __init__(self, token: str, sink: Callable[[bytes], object]) -> None:
        self._line = token.encode() + b"\n"
        self._sink = sink
        self._before: bytes | None = b""

    def __call__(self, data: bytes) -> None:
        """Take the next piece."""
        if self._before is not None:
            before, line, data = (self._before + data).partition(self._line)
            self._before = None if line else before[-len(self._line) :]
            if not line:
                return
        if data:
            self._sink(data)


def read_answer(ended: Exchange, token: str) -> Answer:
    """What came back from a script. A status that the transport adds of its own makes the answer incomplete."""
    line = token.encode() + b"\n"
    noise, started, said = ended.stderr.partition(line)
    if not started:
        return Answer(False, _text(noise))
    body, last, rest = said.rpartition(b"\n" + token.encode() + b" ")
    words = rest.decode("ascii", "replace").split()
    if not last or not rest.endswith(b"\n") or len(words) != 2 or not words[0].isdigit() or ended.status != 0:
        return Answer(True, _text(said))
    stdout = ended.stdout.partition(line)[2]
    return Answer(True, _text(body), Result(int(words[0]), stdout, body), words[1])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
