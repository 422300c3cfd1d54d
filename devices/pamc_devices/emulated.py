"""Raspberry Pis that QEMU emulates on this machine, one program at a time: right results, exact counts, no latencies.

Files are this machine's, and so is the kernel. Programs are arm64 ones: commands come from a Debian root (`roots`),
which also hides this machine's processor from them, and files that were pushed run as they are. No privilege is needed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from pamc.errors import ConfigError
from pamc_devices.address import Address
from pamc_devices.base import Driver, Listed, Result
from pamc_devices.boardfiles import BOARDS
from pamc_devices.local import LocalDevice
from pamc_devices.roots import SHIMS, board_root, qemu_program

__all__ = ["EmulatedDevice", "driver"]

# Programs of this machine may need these; an arm64 program would look for its own parts there.
_HIDDEN = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH")
_ELF = b"\x7fELF"
_SCRIPTS = 4  # interpreters that are scripts themselves: as many as Linux allows


class EmulatedDevice(LocalDevice):
    """The board ``name`` of `boardfiles.BOARDS`. Its root is made when it is first asked for anything."""

    emulated = True

    def __init__(self, address: Address, name: str) -> None:
        super().__init__(address)
        self.name = name
        self.board = BOARDS[name]

    @cached_property
    def root(self) -> Path:
        """The folder whose files programs see in place of this machine's."""
        return board_root(self.name, self.board)

    def prefix(self, options: Sequence[str] = ()) -> tuple[str, ...]:
        """The command that runs an arm64 program when the program's path and arguments follow it.

        ``options`` of QEMU, such as ``-plugin``, come before those; with options the QEMU that knows plugins is taken.
        Raises MissingRuntimeError when it is not on this machine.
        """
        qemu = qemu_program("aarch64", plugins=bool(options))
        return (qemu, "-cpu", self.board.cpu, "-L", str(self.root), *options)

    def environment(self) -> dict[str, str]:
        """The variables that programs need beside ``prefix``: they start other programs of the root by them."""
        return {
            **dict.fromkeys(_HIDDEN, ""),
            "PATH": str(self.root.parent / SHIMS),
            "PAMC_QEMU": qemu_program("aarch64"),
            "QEMU_CPU": self.board.cpu,
            "QEMU_LD_PREFIX": str(self.root),
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = {},
        stdin: bytes = b"",
        timeout: float = 60.0,
        options: Sequence[str] = (),
    ) -> Result:
        """See `Device.run`; ``options`` are QEMU's, see :meth:`prefix`."""
        command = self._command(tuple(argv), options, _SCRIPTS)
        return super().run(command, env={**self.environment(), **env}, stdin=stdin, timeout=timeout)

    def _command(self, argv: tuple[str, ...], options: Sequence[str], depth: int) -> tuple[str, ...]:
        program = self._program(argv[0]) if argv else None
        if program is None or not os.access(program, os.R_OK | os.X_OK):
            # The shell says what is wrong with it, in the words of any other device.
            return argv
        with program.open("rb") as file:
            start = file.read(256)
        if start.startswith(b"#!") and depth:
            words = os.fsdecode(start[2:].split(b"\n")[0]).split(maxsplit=1)
            return self._command((*words, str(program), *argv[1:]), options, depth - 1)
        if not start.startswith(_ELF):
            return argv
        return (*self.prefix(options), "-0", argv[0], str(program), *argv[1:])

    def _program(self, name: str) -> Path | None:
        """The file that a command means: the root's when it has one of that name or path."""
        if "\0" in name:
            return None
        if "/" not in name:
            found = shutil.which(name, path=str(self.root / "usr" / "bin"))
            return Path(found) if found else None
        shown = self.root / name.lstrip("/")
        path = shown if name.startswith("/") and shown.is_file() else Path(name)
        return path if path.is_file() else None

    def _default_home(self) -> str:
        return os.path.join(super()._default_home(), "emulated", self.name)


def _open(address: Address) -> EmulatedDevice:
    if address.host not in BOARDS:
        near = get_close_matches(address.host.lower(), BOARDS, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        cure = f"use one of: {', '.join(f'emulated://{name}' for name in BOARDS)}"
        raise ConfigError(f"no emulated board is called '{address.host}'{hint}", cure=cure)
    if address.user or address.port is not None:
        raise ConfigError(
            f"'{address.url}': an emulated board has no user and no port", cure=f"emulated://{address.host}"
        )
    return EmulatedDevice(address, address.host)


def _boards() -> tuple[Listed, ...]:
    state = "ready" if shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64") else "needs qemu-user-static"
    return tuple(Listed(f"emulated://{name}", state, board.model) for name, board in BOARDS.items())


driver = Driver(summary="Raspberry Pis emulated by QEMU", open=_open, listed=_boards)
