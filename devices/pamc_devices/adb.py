"""Android devices over adb, by the `adb` program and its server, which other tools on this machine may share.

Files go through the shell as they do over ssh, not through adb's own push: so a transfer that breaks is cleaned up on
the device itself, is checked to be complete, and fails with the same messages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache

from pamc.errors import DeviceError
from pamc_devices.address import Address
from pamc_devices.base import Driver, Listed
from pamc_devices.failures import Sign, last_words, recognise
from pamc_devices.process import Exchange, exchange
from pamc_devices.remote import ShellDevice
from pamc_devices.states import AbsentError, CommandError, MissingRuntimeError, OfflineError, UnauthorizedError

__all__ = ["AdbDevice", "adb_program", "driver"]

_SECONDS = 20.0
# A daemon that has just started, or a link that came back, needs a moment until it takes commands.
_PATIENCE = 5.0
# How long a link that is being made may look broken.
_HANDSHAKE = 1.0
_SIGNS = (
    Sign(
        r"unauthorized|still authorizing|failed to authenticate",
        UnauthorizedError,
        "the device has not allowed this computer to debug it",
        "unlock its screen and confirm 'Allow USB debugging'; if it asks nothing, plug it in again",
    ),
    Sign(
        r"no permissions|insufficient permissions",
        UnauthorizedError,
        "this user may not open the USB device",
        "add udev rules for it (package android-sdk-platform-tools-common) and your user to the group plugdev",
    ),
    Sign(
        r"more than one (device|emulator)",
        AbsentError,
        "several devices are connected and the address names none",
        "name one, such as adb://SERIAL; pamc devices list shows them",
    ),
    Sign(
        r"device offline|device is offline|^offline$",
        OfflineError,
        "the device is connected but takes no commands",
        "unlock its screen, plug it in again, or switch USB debugging off and on",
    ),
    Sign(
        r"device '.*' not found|no devices/emulators found|no devices found|unknown device",
        AbsentError,
        "no such device is connected",
        "check the cable and that USB debugging is on; pamc devices list shows what adb sees",
    ),
    Sign(
        r"failed to connect|unable to connect|cannot connect to \S+:\d+|failed to resolve|Connection refused"
        r"|No route to host|[Cc]onnection timed out|Network is unreachable",
        AbsentError,
        "nothing answers at that address",
        "check its address, and that wireless debugging, or adb tcpip 5555, is on",
    ),
    Sign(
        r"cannot connect to daemon|protocol fault|couldn't read from daemon|failed to (check|read)|daemon not running"
        r"|server version|cannot bind|smartsocket",
        OfflineError,
        "the adb server of this machine does not work",
        "restart it: adb kill-server; adb start-server",
    ),
    Sign(
        r"error: closed|device still connecting|connecting|bootloader|recovery|sideload",
        OfflineError,
        "the device does not take commands now",
        "wait until it has started, then try again",
    ),
)


@cache
def adb_program() -> str:
    """Path of the adb program: that of PATH, else the one in the package adbutils. Raises CommandError without any."""
    if found := shutil.which("adb"):
        return found
    try:
        from adbutils import adb_path
    except ImportError:
        cure = "install it: apt-get install adb, or pip install 'pamc[adb]'"
        raise CommandError("adb is not installed on this machine", cure=cure) from None
    return str(adb_path())


class AdbDevice(ShellDevice):
    """An Android device. An address with a port is connected over the network first; one without a name means the
    only device that is connected."""

    scratch = "/data/local/tmp"

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._endpoint = None if address.port is None else f"{host}:{address.port}"
        self._serial = self._endpoint or host
        self._ready = False

    def _transport(self, line: str) -> Sequence[str]:
        if not self._ready:
            self._connect()
        return [*self._command(), "shell", "-T", line]

    def _default_home(self) -> str:
        # The only folder in which Android lets the shell's user run programs.
        return "/data/local/tmp/pamc"

    def _refusal(self, text: str) -> DeviceError:
        known = recognise(_SIGNS, text, self.url)
        if known is not None:
            return known
        cure = "see what this says: adb devices -l"
        return OfflineError("adb could not start a command there", where=self.url, why=last_words(text), cure=cure)

    def _disconnect(self) -> None:
        self._ready = False

    def _command(self) -> list[str]:
        return [adb_program(), *(("-s", self._serial) if self._serial else ())]

    def _connect(self) -> None:
        _start_server()
        began = time.monotonic()
        while (trouble := self._trouble()) is not None:
            waited = time.monotonic() - began
            if not isinstance(trouble, OfflineError) or waited > _PATIENCE:
                raise trouble
            if self._endpoint is not None and waited > _HANDSHAKE:
                # A link that broke stays in the server's list, and connecting again does nothing while it is there.
                _adb([adb_program(), "disconnect", self._endpoint])
            time.sleep(0.25)
        features = _adb([*self._command(), "features"])
        if "shell_v2" not in _text(features).split():
            raise MissingRuntimeError(
                "its adb does not tell exit codes, stdout and stderr apart",
                where=self.url,
                why="the feature shell_v2 is missing; it came with Android 7",
                cure="use a device with Android 7 or newer",
            )
        self._ready = True

    def _trouble(self) -> DeviceError | None:
        """What keeps the device from taking commands, or None."""
        if self._endpoint is not None:
            said = _text(_adb([adb_program(), "connect", self._endpoint]))
            # The exit status tells nothing in older releases.
            if not re.search(r"^(already )?connected to", said, re.MULTILINE):
                return self._refusal(said)
        state = _adb([*self._command(), "get-state"])
        if state.status == 0 and state.stdout.strip() == b"device":
            return None
        trouble = self._refusal(_text(state))
        if self._endpoint is not None and isinstance(trouble, AbsentError):
            # The server had it just now, and its list is that of all programs here.
            why = "another program on this machine has disconnected it"
            return OfflineError("the device is not connected any more", where=self.url, why=why, cure="try again")
        return trouble


def _adb(argv: Sequence[str]) -> Exchange:
    return exchange(argv, timeout=_SECONDS, env={**os.environ, "LC_ALL": "C"})


def _text(said: Exchange) -> str:
    return (said.stdout + b"\n" + said.stderr).decode("utf-8", "replace")


def _start_server() -> None:
    """Start the server, if none runs, apart from this process: it must outlive it, and hold none of its pipes."""
    with tempfile.TemporaryFile() as said:
        started = subprocess.run(
            [adb_program(), "start-server"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
        )
        said.seek(0)
        why = last_words(said.read().decode("utf-8", "replace"))
    if started.returncode:
        raise OfflineError("the adb server of this machine does not start", why=why, cure="adb kill-server")


def _connected() -> tuple[Listed, ...]:
    """The devices that adb knows, with the states that it gives them."""
    _start_server()
    found = []
    for line in _text(_adb([adb_program(), "devices", "-l"])).splitlines():
        row = re.fullmatch(
            r"(\S+)\s+(device|offline|unauthorized|authorizing|connecting|no permissions.*?|\w+)( .*)?", line
        )
        if row is None or line.startswith(("List of", "*")):
            continue
        model = re.search(r"model:(\S+)", row[3] or "")
        state = {"device": "ready"}.get(row[2], row[2])
        found.append(Listed(f"adb://{row[1]}", state, model[1].replace("_", " ") if model else ""))
    return tuple(found)


driver = Driver(summary="Android devices over adb", open=AdbDevice, listed=_connected)
