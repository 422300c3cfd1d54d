"""Addresses of devices: `local`, `ssh://[user@]host[:port]`, `adb://serial`, `adb://host:port`, `emulated://board`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NoReturn

from pamc.errors import ConfigError

__all__ = ["Address", "parse_address"]

_EXAMPLES = "write local, ssh://pi@board, adb://SERIAL or emulated://rpi4"
# What ssh and adb take as a name and never as an option: no leading dash, no blank, nothing that a shell knows.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_FOLDER = re.compile(r"(/[^\x00-\x1f\x7f]*)?")


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an address. ``host`` has no brackets; ``folder`` is where pamc keeps its files there, or empty."""

    scheme: str
    user: str = ""
    host: str = ""
    port: int | None = None
    folder: str = ""

    @property
    def url(self) -> str:
        """The address as text, always the same for the same parts."""
        if not self.host:
            return f"{self.scheme}://{self.folder}" if self.folder else self.scheme
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{user}{host}{port}{self.folder}"

    def bare(self, example: str) -> Address:
        """The same address, which may have a folder and nothing else. Raises ConfigError with an ``example`` if not."""
        if self.host or self.user:
            _refuse(self.url, f"a device of kind '{self.scheme}' has no name", f"write {example}")
        return self


def parse_address(text: str) -> Address:
    """The address in ``text``. Raises ConfigError, with a cure, for anything that is not one."""
    scheme, separator, rest = text.partition("://")
    if not _SCHEME.fullmatch(scheme):
        _refuse(text, "it starts with no known kind of device")
    if not separator or not rest:
        return Address(scheme)
    place, slash, folder = rest.partition("/")
    folder = (slash + folder).rstrip("/")
    if not _FOLDER.fullmatch(folder) or ".." in folder.split("/"):
        _refuse(text, "the folder holds control characters or '..'")
    user, at, endpoint = place.rpartition("@")
    if ":" in user:
        _refuse(f"{scheme}://...@{endpoint}", "it holds a password", "log in with a key; pamc takes no passwords")
    if at and not _USER.fullmatch(user):
        _refuse(text, f"{user!r} is no user name")
    host, port = _endpoint(text, endpoint)
    return Address(scheme, user, host, port, folder)


def _endpoint(text: str, endpoint: str) -> tuple[str, int | None]:
    if endpoint.startswith("["):
        host, bracket, tail = endpoint[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")) or not _is_ipv6(host):
            _refuse(text, "an IPv6 address is written as [::1] or [::1]:22")
        return host, _port(text, tail[1:]) if tail else None
    if endpoint.count(":") > 1:
        _refuse(text, "it has several colons", "put an IPv6 address in brackets: [::1]:22")
    host, colon, port = endpoint.partition(":")
    if not host and not colon:
        return "", None
    if not _HOST.fullmatch(host):
        _refuse(text, f"{host!r} is no name of a device")
    return host, _port(text, port) if colon else None


def _is_ipv6(host: str) -> bool:
    name, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(name)
    except ValueError:
        return False
    return not percent or _HOST.fullmatch(zone) is not None


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        _refuse(text, f"{port!r} is no port", "a port is a number from 1 to 65535")
    return int(port)


def _refuse(text: str, why: str, cure: str | None = None) -> NoReturn:
    raise ConfigError(f"{text!r} is not the address of a device", why=why, cure=cure or _EXAMPLES)
