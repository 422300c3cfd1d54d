"""Errors a user may see, and the exit code of each.

====  ===========================================================  ===========================
code  meaning                                                      class
====  ===========================================================  ===========================
0     the command did what was asked                               -
2     wrong usage, model.yaml, weights or user code                ConfigError, UserCodeError,
                                                                   WeightsError
3     a network holds something that pamc cannot compile           UnsupportedModelError
4     an artefact disagrees with the PyTorch networks, also on a   VerificationError
      device
5     a device cannot be reached or fails                          DeviceError
6     the accuracy or cost goal was missed                         GoalMissedError
70    a defect of pamc                                             InternalError
74    output cannot be written, or a bundle cannot be read         OutputError
130   interrupted with Ctrl-C                                      KeyboardInterrupt
141   nobody reads stdout any more, as in `pamc inspect X | head`  BrokenPipeError
====  ===========================================================  ===========================

A message says what is wrong, where, why, and what to do about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import ClassVar, Self

__all__ = [
    "EXIT_INTERRUPTED",
    "ConfigError",
    "DeviceError",
    "Finding",
    "GoalMissedError",
    "InternalError",
    "OutputError",
    "PamcError",
    "Problem",
    "UnsupportedModelError",
    "UserCodeError",
    "VerificationError",
    "WeightsError",
]

EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; its text is the message."""

    what: str
    where: str | None = None
    why: str | None = None
    cure: str | None = None

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        tail = [f"  {label}: {text}" for label, text in (("why", self.why), ("cure", self.cure)) if text]
        return "\n".join([head, *tail])


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of a network that pamc cannot compile, at `location` (file:line) in the user's code."""

    network: str
    op: str
    module_path: str
    location: str
    why: str
    cure: str

    def __str__(self) -> str:
        path = f" in {self.module_path}" if self.module_path else ""
        problem = Problem(f"{self.network}: {self.op}{path}", self.location or None, self.why, self.cure)
        return str(problem)


class PamcError(Exception):
    """Root of the errors that pamc reports as a message, without a traceback."""

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, cure: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.cure = cure

    def __str__(self) -> str:
        return str(Problem(self.what, self.where, self.why, self.cure))

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with the positional `what` only and lose the rest on the way
        # between processes (pytest-xdist, data loader workers).
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[PamcError], args: tuple[object, ...], state: dict[str, object]) -> PamcError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(PamcError):
    """Wrong usage or a wrong model.yaml; may hold many problems."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, cure: str | None = None) -> None:
        super().__init__(what, where=where, why=why, cure=cure)
        self.problems: tuple[Problem, ...] = (Problem(what, where, why, cure),)

    @classmethod
    def many(cls, problems: Sequence[Problem]) -> Self:
        """One error for all `problems` (at least one), shown in the given order."""
        first = problems[0]
        error = cls(first.what, where=first.where, why=first.why, cure=first.cure)
        error.problems = tuple(problems)
        return error

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class UserCodeError(PamcError):
    """The user's model or data function raised or returned something unusable, at `file`:`line`."""

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        cure: str | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        if where is None and file is not None:
            where = file if line is None else f"{file}:{line}"
        super().__init__(what, where=where, why=why, cure=cure)
        self.file = file
        self.line = line

    @classmethod
    def raised(cls, what: str, error: BaseException, *, file: Path, cure: str | None = None) -> Self:
        """For `error` raised by code of `file`: points at the deepest line of the user's folder."""
        if isinstance(error, SyntaxError) and error.filename:
            return cls(what, why=f"SyntaxError: {error.msg}", cure=cure, file=error.filename, line=error.lineno)
        folder = file.resolve().parent
        mine = [frame for frame in extract_tb(error.__traceback__) if folder in Path(frame.filename).resolve().parents]
        place = (mine[-1].filename, mine[-1].lineno) if mine else (str(file), None)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return cls(what, why=reason, cure=cure, file=place[0], line=place[1])


class WeightsError(PamcError):
    """A weights file is unreadable, does not fit its network, or holds values that are not finite."""

    exit_code = 2


class UnsupportedModelError(PamcError):
    """A network cannot be compiled; `findings` name each reason."""

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        findings: Sequence[Finding] = (),
        where: str | None = None,
        why: str | None = None,
        cure: str | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, cure=cure)
        self.findings: tuple[Finding, ...] = tuple(findings)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.findings)])


class VerificationError(PamcError):
    """An artefact disagrees with the PyTorch networks."""

    exit_code = 4


class DeviceError(PamcError):
    """A device cannot be reached, or a command on it failed."""

    exit_code = 5


class GoalMissedError(PamcError):
    """The asked-for accuracy or cost cannot be reached."""

    exit_code = 6


class InternalError(PamcError):
    """A defect of pamc, not of the user's input."""

    exit_code = 70


class OutputError(PamcError):
    """Output cannot be written (folder, disk), or a bundle is incomplete or corrupt."""

    exit_code = 74
