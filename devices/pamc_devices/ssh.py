"""Boards over ssh, by the `ssh` program: the user's own configuration, keys, agents and jump hosts work as they are."""

from __future__ import annotations

import os
import re
import secrets
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pamc.errors import ConfigError, DeviceError
from pamc_devices.address import Address
from pamc_devices.base import Driver, Listed
from pamc_devices.failures import Sign, last_words, recognise
from pamc_devices.process import end_session
from pamc_devices.remote import ShellDevice
from pamc_devices.states import AbsentError, CommandError, OfflineError, UnauthorizedError

__all__ = ["CONFIG_VARIABLE", "SshDevice", "driver"]

CONFIG_VARIABLE = "PAMC_SSH_CONFIG"
"""Environment variable with the path of an ssh configuration to use instead of the user's (`ssh -F`)."""

_CONNECT_SECONDS = 10
# Key exchange and login may take as long again on a slow board.
_LOGIN_SECONDS = 30
# The folder of the socket goes with the connection, also when this process was killed.
_AND_REMOVE = '"$@"; rm -rf -- "$0"'
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": str(_CONNECT_SECONDS),
    # A connection that says nothing for 15 s is dead.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
    # What a configuration may ask for and a command cannot do with.
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "PermitLocalCommand": "no",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
}
_KEYS = "put your key on it: ssh-copy-id {user}{host}; pamc takes no passwords"
_SIGNS = (
    Sign(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed",
        UnauthorizedError,
        "its host key is another one than last time",
        "if the board was set up anew: ssh-keygen -R {host}; if not, somebody may be in between",
    ),
    Sign(
        r"Host key verification failed|No .+ host key is known",
        UnauthorizedError,
        "its host key is not known",
        "log in once by hand and compare the key: ssh {user}{host}",
    ),
    Sign(
        r"Permission denied|Too many authentication failures|[Aa]uthentication failed|no mutual signature",
        UnauthorizedError,
        "it refuses this user or key",
        _KEYS,
    ),
    Sign(
        r"account is (currently )?not available|must change your password|Account locked",
        UnauthorizedError,
        "it lets this user not run commands",
        "use another user of the board, or give this one a shell",
    ),
    Sign(
        r"Could not resolve hostname|Name or service not known|nodename nor servname",
        AbsentError,
        "no host has that name",
        "check the name, or write the board's address; hosts of ~/.ssh/config count too",
    ),
    Sign(
        r"Connection refused",
        AbsentError,
        "the host answers, but no ssh server does at that port",
        "switch ssh on (on a Raspberry Pi: sudo raspi-config, Interface Options), or name the port: ssh://{place}:2222",
    ),
    Sign(
        r"No route to host|Network is unreachable|Host is down|timed out",
        AbsentError,
        "nothing answers at that address",
        "check power, cable and network of the board, and its address",
    ),
    Sign(
        r"Bad configuration option|bad configuration|Bad owner or permissions|Can't open user config file",
        CommandError,
        "ssh cannot read its configuration",
        "correct what the message names",
    ),
    Sign(
        r"kex_exchange_identification|banner exchange|Connection closed|Connection reset|closed by remote host",
        OfflineError,
        "it closed the connection before the login was done",
        "wait and try again; a board that starts, or that has too many logins, does that",
    ),
)


class SshDevice(ShellDevice):
    """A board over ssh: one connection is opened at the first use, and all commands go through it."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._master: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def _transport(self, line: str) -> Sequence[str]:
        if self._master is None or self._master.poll() is not None:
            self._disconnect()
            self._connect()
        return [*self._command("no"), line]

    def _default_home(self) -> str:
        return "$HOME/.local/share/pamc"

    def _refusal(self, text: str) -> DeviceError:
        known = recognise(_SIGNS, text, self.url)
        if known is None:
            cure = f"see what this says: ssh -v {self._target()}"
            return OfflineError("ssh could not start a command there", where=self.url, why=last_words(text), cure=cure)
        if known.cure is not None:
            user = f"{self._address.user}@" if self._address.user else ""
            place = f"[{host}]" if ":" in (host := self._address.host) else host
            known.cure = known.cure.format(user=user, host=host, place=place)
        return known

    def _target(self) -> str:
        user = f"{self._address.user}@" if self._address.user else ""
        return f"{user}{self._address.host}"

    def _command(self, master: str) -> list[str]:
        assert self._folder is not None
        options = {**_OPTIONS, "ControlMaster": master, "ControlPath": f"{self._folder.name}/s"}
        command = ["ssh", "-T"]
        if config := os.environ.get(CONFIG_VARIABLE):
            command += ["-F", config]
        for name, value in options.items():
            command += ["-o", f"{name}={value}"]
        if self._address.port is not None:
            command += ["-p", str(self._address.port)]
        if self._address.user:
            command += ["-l", self._address.user]
        return [*command, "--", self._address.host]

    def _connect(self) -> None:
        """Open the connection. It lives as long as its `cat` has a stdin, so not longer than this process."""
        if shutil.which("ssh") is None:
            cure = "install it, for example with apt-get install openssh-client"
            raise CommandError("ssh is not installed on this machine", where=self.url, cure=cure)
        self._folder = _short_folder()
        token = f"pamc-{secrets.token_hex(8)}\n".encode()
        with tempfile.TemporaryFile() as errors:
            try:
                self._master = subprocess.Popen(
                    ["sh", "-c", _AND_REMOVE, self._folder.name, *self._command("yes"), "exec cat"],  # noqa: S607
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, "LC_ALL": "C"},
                    bufsize=0,
                    start_new_session=True,
                )
                if _echoes(self._master, token, _CONNECT_SECONDS + _LOGIN_SECONDS):
                    return
            except BaseException:
                self._disconnect()
                raise
            ended = self._master.poll() is not None
            self._disconnect()
            errors.seek(0)
            text = errors.read().decode("utf-8", "replace")
        raise self._refusal(text if ended or text else "timed out in the login")

    def _disconnect(self) -> None:
        if self._master is not None:
            for stream in (self._master.stdin, self._master.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            end_session(self._master)
            self._master = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    # A socket's path has 104 bytes at most, of which ssh takes some for a suffix.
    usual = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(prefix="pamc-", dir=usual if len(os.fsencode(usual)) < 60 else "/tmp")  # noqa: S108


def _echoes(process: subprocess.Popen[bytes], token: bytes, seconds: float) -> bool:
    """Whether the token comes back in time, after whatever a login prints."""
    assert process.stdin and process.stdout
    with suppress(BrokenPipeError):
        process.stdin.write(token)
    os.set_blocking(process.stdout.fileno(), False)
    heard = b""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = process.stdout.read(4096)
            if not data:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                return False
            heard = (heard + data)[-(4096 + len(token)) :]
            if token in heard:
                return True
    return False


def _open(address: Address) -> SshDevice:
    if not address.host:
        raise ConfigError(f"'{address.url}' names no host", cure="write ssh://pi@board")
    return SshDevice(address)


def _configured() -> tuple[Listed, ...]:
    """Hosts with a name of their own in the ssh configuration."""
    path = Path(os.environ.get(CONFIG_VARIABLE) or Path.home() / ".ssh" / "config")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    lines = re.findall(r"^\s*[Hh]ost[\s=]+(.+)$", text, re.MULTILINE)
    names = dict.fromkeys(name.strip('"') for line in lines for name in line.split())
    return tuple(Listed(f"ssh://{name}", "not asked", str(path)) for name in names if re.fullmatch(r"[\w.-]+", name))


driver = Driver(summary="boards over ssh", open=_open, listed=_configured)
