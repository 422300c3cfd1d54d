"""What a device is. Devices are found by the scheme of their address, through the entry points `pamc.devices`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["GROUP", "Device", "Result"]

GROUP = "pamc.devices"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its exit status and all that it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


@runtime_checkable
class Device(Protocol):
    """A machine that takes files and runs commands. ``emulated`` devices have exact counts but no latency.

    Paths on the device are absolute POSIX paths as text. Every method raises a class of `pamc_devices.states` when
    the device fails, never a class of the tool behind it; a transfer that raises leaves no half-written file under
    the name asked for.
    """

    url: str
    emulated: bool

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = {},
        stdin: bytes = b"",
        timeout: float = 60.0,
    ) -> Result:
        """Run one command, without a shell in between as far as its arguments can tell.

        Any argument that has no NUL arrives unchanged. ``timeout`` is in seconds; a command that takes longer is
        stopped on the device, with its children, and TimedOutError is raised. A status other than 0 is no error.
        """

    def push(self, source: Path, target: str) -> None:
        """Copy one file to ``target``, whose folder exists. Permissions of the owner go along."""

    def pull(self, source: str, target: Path) -> None:
        """Copy one file to ``target`` on this machine."""

    def tmpdir(self) -> AbstractContextManager[str]:
        """A new empty folder of the device in which programs may be executed; removed with all it holds at the end."""

    def home(self) -> str:
        """The folder under which pamc keeps its store on the device; programs in it may be executed."""

    def close(self) -> None:
        """End connections. May be called twice."""
