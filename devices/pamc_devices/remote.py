"""What all devices have in common: a POSIX shell that reads a script from stdin, and files that go through its pipes.

A command runs under `scripts/guard.sh`, which ends it with its children when its time is over or the connection is
gone. Every script says a token of this call when it starts, and again with the exit status when it has ended: what a
login prints before is cut away, and what comes without the second token was cut off and is never taken for a result.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from pamc.errors import ConfigError, DeviceError
from pamc_devices.address import Address
from pamc_devices.base import Result
from pamc_devices.failures import failure, last_words
from pamc_devices.process import OUTPUT_LIMIT, Exchange, exchange
from pamc_devices.quoting import BOOTSTRAP, command_line, program
from pamc_devices.scripts import script
from pamc_devices.states import CommandError, LostError, NoSpaceError, OfflineError, TimedOutError
from pamc_devices.tokens import After, Answer, read_answer

__all__ = ["ShellDevice"]

# The guard ends a command when its time is over; this many seconds later the connection counts as dead.
_GRACE = 15.0
# A transfer that is slower than this, in bytes a second, counts as dead.
_SLOWEST = 50_000
_CHUNK = 1 << 18
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MAKE_HOME = 'mkdir -p -- "$1" && cd -- "$1" && pwd'
_REMOVE = 'rm -rf -- "$1" 2>/dev/null || { chmod -R u+rwx -- "$1"; rm -rf -- "$1"; }'


class ShellDevice(ABC):
    """A `Device` over a command of this machine that hands a line to the device's shell and passes on its pipes."""

    emulated = False
    scratch = "/tmp"  # noqa: S108 - of the device; mktemp makes the names there
    """A folder of the device for input of commands, which need not be executable."""

    def __init__(self, address: Address) -> None:
        self.url = address.url
        self._address = address
        self._home: str | None = None

    @abstractmethod
    def _transport(self, line: str) -> Sequence[str]:
        """The command of this machine that runs ``line`` in the device's shell; connects first where that is needed."""

    @abstractmethod
    def _refusal(self, text: str) -> DeviceError:
        """The error for a command that the device never started; ``text`` is what the transport said."""

    @abstractmethod
    def _default_home(self) -> str:
        """Where pamc keeps its files on the device when the address names no folder; `$HOME` may begin it."""

    def _disconnect(self) -> None:  # noqa: B027 - a device without connections has nothing to do here
        """Forget a connection that broke, so that the next call makes a new one."""

    def close(self) -> None:
        """End connections. May be called twice."""
        self._disconnect()

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] = {}, stdin: bytes = b"", timeout: float = 60.0
    ) -> Result:
        """See `Device.run`."""
        return self._guarded(argv, env=env, stdin=stdin, timeout=timeout)

    def push(self, source: Path, target: str) -> None:
        """See `Device.push`."""
        _check_absolute(target)
        try:
            with source.open("rb") as file:
                status = os.fstat(file.fileno())
                answer = self._ask(
                    "store.sh",
                    [target],
                    {
                        "size": str(status.st_size),
                        "mode": f"{status.st_mode & 0o777:o}",
                        "part": f"{target.rpartition('/')[0]}/{_part()}",
                    },
                    feed=iter(lambda: file.read(_CHUNK), b""),
                    timeout=60 + status.st_size / _SLOWEST,
                )
        except OSError as error:
            raise CommandError(f"the file cannot be read: {error.strerror}", where=str(source)) from error
        assert answer.result is not None
        if answer.result.status:
            raise failure([f"copying to {target}"], answer.result, self.url)

    def pull(self, source: str, target: Path) -> None:
        """See `Device.pull`."""
        _check_absolute(source)
        part = target.with_name(_part())
        try:
            with part.open("xb") as file:
                result = self._guarded(["cat", source], sink=file.write, timeout=3600)
            if result.status:
                raise failure([f"reading {source}"], result, self.url)
            part.replace(target)
        except OSError as error:
            kind = NoSpaceError if error.errno in _FULL else CommandError
            what = f"the file cannot be written on this machine: {error.strerror}"
            raise kind(what, where=str(target), cure="make room, or choose another folder") from error
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def tmpdir(self) -> Iterator[str]:
        """See `Device.tmpdir`."""
        folder = self._told("making a folder", ["mktemp", "-d", f"{self.home()}/job.XXXXXX"])
        try:
            yield folder
        except BaseException:
            # The first error is the one to report.
            with suppress(DeviceError):
                self.run(["sh", "-c", _REMOVE, "sh", folder])
            raise
        self._told(f"removing {folder}", ["sh", "-c", _REMOVE, "sh", folder])

    def home(self) -> str:
        """See `Device.home`. Made when it is not there."""
        if self._home is None:
            folder = self._address.folder or self._default_home()
            if folder.startswith("$HOME"):
                login = self._told("asking for the user's folder", ["sh", "-c", 'printf "%s\\n" "$HOME"'])
                folder = login + folder.removeprefix("$HOME")
            self._home = self._told(f"making {folder}", ["sh", "-c", _MAKE_HOME, "sh", folder])
        return self._home

    def _told(self, what: str, argv: Sequence[str]) -> str:
        """The line that a command of ours prints; ``what`` it does is in the message of the error when it fails."""
        result = self.run(argv)
        if result.status:
            raise failure([what], result, self.url)
        return os.fsdecode(result.stdout).removesuffix("\n")

    def _guarded(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = {},
        stdin: bytes = b"",
        timeout: float,
        sink: Callable[[bytes], object] | None = None,
    ) -> Result:
        limit = max(1, math.ceil(timeout))
        answer = self._ask(
            "guard.sh",
            program(argv, env),
            {"limit": str(limit), "size": str(len(stdin)), "folder": self.scratch},
            feed=iter([stdin]),
            hold=True,
            timeout=limit + _GRACE,
            sink=sink,
        )
        if answer.how == "timeout":
            raise TimedOutError(
                f"{last_words(argv[0], 80)} was stopped: it took longer than {limit} s",
                where=self.url,
                why=last_words(answer.said),
                cure="give it more time, or see what it waits for",
            )
        assert answer.result is not None
        if answer.how == "input":
            raise failure(["storing the input of a command"], answer.result, self.url)
        return answer.result

    def _ask(
        self,
        name: str,
        words: Sequence[str],
        settings: Mapping[str, str],
        *,
        feed: Iterator[bytes],
        timeout: float,
        hold: bool = False,
        sink: Callable[[bytes], object] | None = None,
    ) -> Answer:
        """Run one of our scripts on the device. Raises a state's error unless a complete answer came."""
        token = secrets.token_hex(16)
        line = command_line(script(name), words, {"token": token, **settings})
        ended = exchange(
            self._transport(BOOTSTRAP),
            feed=chain([line], feed),
            hold=hold,
            sink=None if sink is None else After(token, sink),
            timeout=timeout,
            env={**os.environ, "LC_ALL": "C"},
        )
        answer = read_answer(ended, token)
        if answer.result is None:
            self._disconnect()
            raise self._incomplete(ended, answer, timeout)
        return answer

    def _incomplete(self, ended: Exchange, answer: Answer, timeout: float) -> DeviceError:
        why = last_words(answer.said)
        if ended.how == "flood":
            what = f"a command wrote more than {OUTPUT_LIMIT >> 20} MiB and was stopped"
            return CommandError(what, where=self.url, cure="let it write to a file on the device and pull that")
        if answer.started and ended.how == "timeout":
            what = f"the device did not answer for {timeout:.0f} s; the command is stopped there as well"
            return TimedOutError(what, where=self.url, why=why, cure="check the connection to the device")
        if answer.started:
            cure = "check the connection and the power of the device, then run the same command again"
            return LostError("the connection broke before the command had ended", where=self.url, why=why, cure=cure)
        if ended.how == "timeout":
            what = f"the device did not answer for {timeout:.0f} s"
            return OfflineError(what, where=self.url, why=why, cure="check that it is on and not overloaded")
        return self._refusal(answer.said)


def _part() -> str:
    """A name for a file on its way, beside its place. Not made of its name, which may be as long as names can be."""
    return f"pamc.part-{secrets.token_hex(8)}"


def _check_absolute(path: str) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigError(f"{path!r} is no absolute path of a file on a device", cure="begin it with /")
