"""What a failed command on a device means: its exit status and its last words, turned into a typed error."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pamc.errors import DeviceError
from pamc_devices.base import Device, Result
from pamc_devices.states import (
    CommandError,
    MissingRuntimeError,
    NoSpaceError,
    ReadOnlyError,
    WrongArchitectureError,
)

__all__ = ["Sign", "checked", "failure", "last_words", "recognise"]


@dataclass(frozen=True, slots=True)
class Sign:
    """A message by which a state is known: a regular expression, and what is said to the user."""

    pattern: str
    state: type[DeviceError]
    what: str
    cure: str


def recognise(signs: Sequence[Sign], text: str, where: str) -> DeviceError | None:
    """The error of the first sign that ``text`` shows, or None."""
    for sign in signs:
        if re.search(sign.pattern, text):
            return sign.state(sign.what, where=where, why=last_words(text), cure=sign.cure)
    return None


def last_words(text: str, limit: int = 400) -> str | None:
    """The end of ``text`` as one printable line, or None when there is nothing."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    joined = "; ".join(line for line in lines if line)
    shown = "".join(letter if letter.isprintable() else "?" for letter in joined)
    return (f"...{shown[-limit:]}" if len(shown) > limit else shown) or None


_WRONG = "it was made for another kind of processor"
_ABI_CURE = "build or fetch it for the ABI that pamc devices info names"

_SIGNS = (
    Sign(
        r"No space left on device|Disk quota exceeded",
        NoSpaceError,
        "the device has no room left",
        "delete files there, or put pamc's folder on another disk: see 'folder' in docs/devices.md",
    ),
    Sign(
        r"Read-only file system",
        ReadOnlyError,
        "the folder is on a file system that is mounted read-only",
        "mount it writable, or name another folder at the end of the address, such as ssh://pi@board/mnt/data",
    ),
    Sign(
        r"Exec format error|cannot execute binary file|not executable: \S+ ELF file|\x7fELF|wrong ELF class"
        r"|unexpected e_machine|is (32|64)-bit instead of|[Ii]nvalid ELF image",
        WrongArchitectureError,
        _WRONG,
        _ABI_CURE,
    ),
    Sign(
        r"version [`']GLIBC\w*_[0-9.]+' not found",
        MissingRuntimeError,
        "it needs a newer C library than the device has",
        "use a newer release of the device's system, or a program built for an older one",
    ),
    Sign(
        r"cannot open shared object file|CANNOT LINK EXECUTABLE|Error loading shared library|image not found"
        r"|Could not open '\S*(ld-linux|linker)",
        MissingRuntimeError,
        "a library that it needs is not on the device",
        "install the library that the message names on the device",
    ),
    Sign(
        r"No module named|ModuleNotFoundError",
        MissingRuntimeError,
        "a Python package that it needs is not on the device",
        "install the package that the message names on the device",
    ),
)

_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "the system stopped it, as it does when memory runs out",
    signal.SIGSEGV: "it crashed with a segmentation fault",
    signal.SIGBUS: "it crashed with a bus error; a file that it had mapped may have become shorter",
    signal.SIGABRT: "it gave up",
}


def failure(argv: Sequence[str], result: Result, where: str) -> DeviceError:
    """The error for a command that ended with another status than it should have.

    ``where`` is the address of the device. The command's own words are in the message.
    """
    text = result.stderr.decode("utf-8", "replace")
    name = last_words(argv[0], 80)
    known = recognise(_SIGNS, text, where)
    if known is not None:
        known.what = f"{name}: {known.what}"
        return known
    why = last_words(text)
    if result.status == 128 + signal.SIGILL:
        return WrongArchitectureError(
            f"{name}: the processor does not know one of its instructions", where=where, why=why, cure=_ABI_CURE
        )
    if result.status == 127:
        # Also for a program that is there and whose loader is not: an armv7 program on a pure 64-bit system.
        return MissingRuntimeError(
            f"{name} is not on the device, or what loads it is not",
            where=where,
            why=why,
            cure="install it there, or check that it fits the ABI that pamc devices info names",
        )
    if result.status == 126:
        return CommandError(
            f"{name} may not be executed there",
            where=where,
            why=why,
            cure="check its permissions, and that its folder is not mounted with noexec: pamc devices doctor",
        )
    if re.search(r"Permission denied|Operation not permitted", text):
        return ReadOnlyError(
            f"{name}: this user may not do that on the device",
            where=where,
            why=why,
            cure="name a folder of the user's own at the end of the address, such as ssh://pi@board/home/pi/pamc",
        )
    number = result.status - 128
    if 0 < number < signal.NSIG:
        told = _SIGNALS.get(number, f"signal {number} ended it")
        return CommandError(f"{name}: {told}", where=where, why=why, cure="see the device's own log (dmesg, logcat)")
    return CommandError(f"{name} ended with status {result.status}", where=where, why=why)


def checked(
    device: Device, argv: Sequence[str], *, env: Mapping[str, str] = {}, stdin: bytes = b"", timeout: float = 60.0
) -> Result:
    """Run a command that has to succeed: raises the error of `failure` for any status but 0."""
    result = device.run(argv, env=env, stdin=stdin, timeout=timeout)
    if result.status:
        raise failure(argv, result, device.url)
    return result
