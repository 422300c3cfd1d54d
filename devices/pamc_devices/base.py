"""What a device is. Devices are found by the scheme of their address, through the entry points `pamc.devices`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pamc_devices.address import Address

__all__ = ["GROUP", "Device", "Driver", "Listed", "Result"]

GROUP = "pamc.devices"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: its exit status (128 + N where signal N ended it) and all that it wrote."""

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
        stopped on the device, with its children, and TimedOutError is raised. A status other than 0 is no error:
        `pamc_devices.failures.failure` says what it means. Processes that a command leaves behind end with it.
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


@dataclass(frozen=True, slots=True)
class Listed:
    """A device that a driver can see: its address, its state in a word or two, and what is known of it."""

    url: str
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Driver:
    """One kind of device. An entry point of the group names such an object; its name is the scheme of the address.

    ``open`` makes the device at an address and connects later, ``listed`` names the devices that can be seen without
    connecting to any.
    """

    summary: str
    open: Callable[[Address], Device]
    listed: Callable[[], tuple[Listed, ...]]
