"""What a runner says: JSON lines, read strictly, so that no number is ever taken from a broken answer.

A runner writes one JSON object a line; its ``kind`` names one of the classes here and its other keys are their fields.
The last line is ``end``. Whatever is cut off, garbled, repeated, missing, unknown or impossible makes the whole answer
void.
"""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, NoReturn, get_args, get_origin, get_type_hints

from pamc.errors import DeviceError, PamcError, VerificationError
from pamc_devices.base import Result
from pamc_devices.failures import last_words
from pamc_devices.states import CommandError, DamagedError, MissingRuntimeError

__all__ = [
    "TASK_NAME",
    "TASK_SET",
    "Checked",
    "End",
    "Failure",
    "Info",
    "Loaded",
    "Memory",
    "Message",
    "Output",
    "Samples",
    "Warm",
    "raise_failure",
    "read_lines",
]

_TASK = r"[A-Za-z][A-Za-z0-9_-]{0,31}"
TASK_NAME = re.compile(_TASK)
"""What a task may be called; for ``fullmatch``."""
TASK_SET = re.compile(rf"{_TASK}(\+{_TASK}){{0,15}}")
"""What a task set may be called; for ``fullmatch``."""

_MOST = 2**63 - 1
_SHOWN = 300


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _amounts(*values: int) -> None:
    _require(all(0 <= value <= _MOST for value in values), "an amount is negative or out of range")


@dataclass(frozen=True, slots=True)
class Info:
    """The runner, the runtime that it found, and the machine: ``machine`` as of uname, ``cpus`` online."""

    KIND: ClassVar[str] = "info"
    runner: str
    runtime: str
    runtime_version: str
    machine: str
    cpus: int

    def __post_init__(self) -> None:
        _amounts(self.cpus)
        _require(self.cpus > 0, "there is no processor")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Nanoseconds from opening the file to a ready session, and of the first inference."""

    KIND: ClassVar[str] = "loaded"
    task_set: str
    load_ns: int
    first_ns: int

    def __post_init__(self) -> None:
        _amounts(self.load_ns, self.first_ns)


@dataclass(frozen=True, slots=True)
class Warm:
    """The warm-up: how many runs, nanoseconds in all, and whether the times became steady."""

    KIND: ClassVar[str] = "warm"
    runs: int
    ns: int
    steady: bool

    def __post_init__(self) -> None:
        _amounts(self.runs, self.ns)


@dataclass(frozen=True, slots=True)
class Samples:
    """Measured runs: nanoseconds of each, and when it began, relative to the first run of the answer."""

    KIND: ClassVar[str] = "samples"
    task_set: str
    start_ns: tuple[int, ...]
    ns: tuple[int, ...]

    def __post_init__(self) -> None:
        _amounts(*self.start_ns, *self.ns)
        _require(len(self.start_ns) == len(self.ns) > 0, "there is not one start for each time")
        ends = [start + time for start, time in zip(self.start_ns, self.ns, strict=True)]
        _require(
            all(end <= start for end, start in zip(ends, self.start_ns[1:], strict=False)), "the clock went backwards"
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the runner's process in KiB: the highest, and the present."""

    KIND: ClassVar[str] = "memory"
    vm_hwm_kib: int
    vm_rss_kib: int

    def __post_init__(self) -> None:
        _amounts(self.vm_hwm_kib, self.vm_rss_kib)
        _require(self.vm_rss_kib <= self.vm_hwm_kib, "more memory is resident than ever was")


@dataclass(frozen=True, slots=True)
class Output:
    """One output, written as raw little-endian float32 to the file ``<task>.bin``."""

    KIND: ClassVar[str] = "output"
    task: str
    shape: tuple[int, ...]
    file: str

    def __post_init__(self) -> None:
        _amounts(*self.shape)
        _require(self.file == f"{self.task}.bin", "an output is not in its own file")


@dataclass(frozen=True, slots=True)
class Checked:
    """One output of one task set against the golden vectors; ``error`` is None where it was not even finite."""

    KIND: ClassVar[str] = "checked"
    task_set: str
    task: str
    error: float | None
    limit: float
    ok: bool

    def __post_init__(self) -> None:
        _require(self.limit >= 0 and (self.error is None or self.error >= 0), "an error is negative")
        _require(
            self.ok == (self.error is not None and self.error <= self.limit), "the verdict is not that of the error"
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong and why. Its ``kind`` is ``error``."""

    KIND: ClassVar[str] = "error"
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class End:
    """The last line: how many there were before it, and the status that the process ends with."""

    KIND: ClassVar[str] = "end"
    lines: int
    status: int

    def __post_init__(self) -> None:
        _amounts(self.lines)
        _require(0 <= self.status <= 255, "the status is not one of a process")


Message = Info | Loaded | Warm | Samples | Memory | Output | Checked | Failure | End

_CLASSES: dict[str, type[Any]] = {kind.KIND: kind for kind in get_args(Message)}


@cache
def _types(kind: str) -> dict[str, Any]:
    hints = get_type_hints(_CLASSES[kind])
    return {field.name: hints[field.name] for field in fields(_CLASSES[kind])}


def _value(kind: Any, data: object, name: str) -> object:
    """``data`` as a value of the type ``kind``; ValueError when it is of another one."""
    if get_origin(kind) is types.UnionType:
        if data is None:
            return None
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        _require(isinstance(data, list), f"{name} is not a list")
        assert isinstance(data, list)
        return tuple(_value(get_args(kind)[0], item, name) for item in data)
    if kind is float and type(data) is int:
        data = float(data)
    _require(type(data) is kind, f"{name} is not of the type {kind.__name__}")
    if isinstance(data, float):
        _require(math.isfinite(data), f"{name} is not finite")
    if name in ("task", "task_set"):
        pattern = TASK_NAME if name == "task" else TASK_SET
        _require(pattern.fullmatch(str(data)) is not None, f"{name} is no name that a bundle may have")
    return data


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _require(len({key for key, _ in pairs}) == len(pairs), "a key is there twice")
    return dict(pairs)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _message(line: str) -> Message:
    data = json.loads(line, object_pairs_hook=_unique, parse_constant=_constant)
    _require(isinstance(data, dict), "the line is not an object")
    kind = _CLASSES.get(data.pop("kind", None)) if isinstance(data.get("kind"), str) else None
    if kind is None:
        raise ValueError("the kind of the line is not known")
    expected = _types(kind.KIND)
    if unknown := sorted(set(data) - set(expected)):
        raise ValueError(f"'{kind.KIND}' has unknown keys: {', '.join(unknown)}")
    if missing := sorted(set(expected) - set(data)):
        raise ValueError(f"'{kind.KIND}' lacks: {', '.join(missing)}")
    message: Message = kind(**{name: _value(expected[name], value, name) for name, value in data.items()})
    return message


def _numbered(number: int, line: str) -> Message:
    try:
        return _message(line)
    except ValueError as error:
        raise ValueError(f"line {number} of what it wrote: {error}") from error


def _check_end(messages: Sequence[Message], status: int) -> None:
    end, before = messages[-1], messages[:-1]
    if not isinstance(end, End) or any(isinstance(line, End) for line in before):
        raise ValueError("the line 'end' is not there, or not the last one")
    _require(end.lines == len(before), f"{end.lines} lines were written, {len(before)} arrived")
    _require(end.status == status, f"it announced status {end.status}")
    failed = any(isinstance(line, Failure) or (isinstance(line, Checked) and not line.ok) for line in before)
    _require(not failed or status != 0, "it failed and ended with status 0")


def _check_order(messages: Sequence[Message]) -> None:
    """ValueError where the lines, each right in itself, contradict each other."""
    ends: dict[str, int] = {}
    checked = [(line.task_set, line.task) for line in messages if isinstance(line, Checked)]
    _require(len(set(checked)) == len(checked), "an output was checked twice")
    outputs = [line.task for line in messages if isinstance(line, Output)]
    _require(len(set(outputs)) == len(outputs), "an output is there twice")
    for line in messages:
        if isinstance(line, Samples):
            _require(line.task_set in ends or line.start_ns[0] == 0, "the first run does not begin at 0")
            _require(ends.get(line.task_set, 0) <= line.start_ns[0], "the clock went backwards")
            ends[line.task_set] = line.start_ns[-1] + line.ns[-1]


def read_lines(result: Result) -> tuple[Message, ...]:
    """The lines of a runner that ended as ``result`` says, in order; the last one is End.

    Raises DamagedError for anything that is not wholly as it should be: lines that are cut off or no JSON, unknown or
    missing keys, values of another type, NaN, negative or overlapping times, a wrong count of lines, a status that is
    not the one announced, a failure without a status. What a complete answer reports as failed is no error here: see
    :func:`raise_failure`.
    """
    try:
        text = result.stdout.decode("utf-8")
        _require(text.endswith("\n"), "the last line is cut off")
        messages = tuple(_numbered(number, line) for number, line in enumerate(text[:-1].split("\n"), 1))
        _check_end(messages, result.status)
        _check_order(messages)
    except (ValueError, RecursionError, OverflowError) as error:
        said = last_words((result.stderr.strip() or result.stdout.strip()).decode("utf-8", "replace"), _SHOWN)
        why = f"{last_words(str(error))}; exit status {result.status}" + (f"; its last words: {said}" if said else "")
        raise DamagedError(
            "the runner's answer is cut off or garbled",
            why=why,
            cure="run it again; when it happens again, `pamc devices doctor` looks for the reason",
        ) from error
    return messages


def raise_failure(messages: Sequence[Message], where: str) -> None:
    """Raise what a complete answer reports as failed, at ``where``; return when it reports success.

    VerificationError when outputs are wrong (status 4), MissingRuntimeError for the runtime (5), DamagedError for files
    (74), CommandError for anything else.
    """
    end = messages[-1]
    assert isinstance(end, End)
    if end.status == 0:
        return
    failures = [line for line in messages if isinstance(line, Failure)]
    wrong = [line for line in messages if isinstance(line, Checked) and not line.ok]
    why = last_words("\n".join([*(f"{line.what}: {line.why}" for line in failures), *map(_wrong, wrong)]), 2000)
    kinds: dict[int, tuple[type[PamcError], str, str]] = {
        4: (VerificationError, "the device does not answer as the PyTorch networks", "see docs/deploy.md, Self-test"),
        5: (
            MissingRuntimeError,
            "the runtime is missing on the device or was refused",
            "`pamc devices doctor` says what to install",
        ),
        74: (DamagedError, "files on the device are missing or damaged", "deploy the bundle again"),
    }
    other: tuple[type[DeviceError], str, str] = (
        CommandError,
        f"the runner ended with status {end.status}",
        "deploy the bundle again with this version of pamc",
    )
    kind, what, cure = kinds.get(end.status, other)
    raise kind(what, where=where, why=why, cure=cure)


def _wrong(line: Checked) -> str:
    error = "is not finite" if line.error is None else f"is off by {line.error:.3g}, limit {line.limit:.3g}"
    return f"task set {line.task_set}: {line.task} {error}"
