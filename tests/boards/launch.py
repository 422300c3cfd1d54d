"""Starts a board as a tree of processes that cannot outlive this one, and ends it.

The board has a process namespace of its own: when its first process is killed, the kernel kills all others and undoes
the mounts. The kernel kills the first process when this one ends, whatever ended it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["BoardError", "Machine", "Running", "free_port", "start", "tied"]

_START_SECONDS = 60.0
_INIT = Path(__file__).with_name("init.py")


class BoardError(RuntimeError):
    """A board does not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What `init.py` needs to know.

    ``layers`` are the folders of the root, the uppermost first; ``mounts`` are additional disks by their folders, with
    options of tmpfs; ``owned`` folders belong to the user with the number ``user``; ``chroot`` are options of chroot.
    """

    work: str
    layers: Sequence[str]
    daemon: Sequence[str]
    environment: Mapping[str, str]
    user: int
    owned: Sequence[str]
    mounts: Mapping[str, str]
    chroot: Sequence[str] = ()
    disk_mib: int = 1024


def free_port() -> int:
    """A port of the loopback interface that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tied(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start ``command`` so that the kernel kills it when this process ends."""
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A board that runs. ``process`` is the parent of its first process."""

    process: subprocess.Popen[bytes]
    log: Path

    def processes(self) -> dict[int, str]:
        """The command lines of the board's processes by their numbers on this machine, without its first one."""
        (init,) = _children(self.process.pid)
        space = os.stat(f"/proc/{init}/ns/pid").st_ino
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != init:
                with suppress(OSError):
                    if os.stat(entry / "ns" / "pid").st_ino == space:
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return {number: line for number, line in found.items() if line}

    def root(self) -> Path:
        """The board's root as this machine can read and write it."""
        (init,) = _children(self.process.pid)
        return Path(f"/proc/{init}/root{self.log.parent}/disk/root")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the board but the first."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def stop(self) -> None:
        """End the board with all that runs on it."""
        for init in _children(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(init, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


def _children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def start(machine: Machine, ready: Callable[[], bool]) -> Running:
    """Start a board and wait until ``ready`` says that it answers. Raises BoardError."""
    work = Path(machine.work)
    spec = work / "machine.json"
    spec.write_text(json.dumps(asdict(machine)))
    log = work / "log"
    spaces = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"]
    running = Running(tied([*spaces, sys.executable, str(_INIT), str(spec)], log), log)
    deadline = time.monotonic() + _START_SECONDS
    try:
        while not ready():
            if running.process.poll() is not None or time.monotonic() > deadline:
                raise BoardError(f"the board does not start; the end of its log:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
    except BaseException:
        running.stop()
        raise
    return running
