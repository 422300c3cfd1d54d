"""One pamc at a time on a device: a folder on the device is the lock, and says who holds it.

A holder also locks a file of its own in this machine's cache, as long as it lives. So a lock that a killed pamc of this
machine left on a device is known to be free at once. One of another machine counts as free when the device was started
again since, or after a day.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pamc.errors import DeviceError
from pamc_devices.base import Device, Result
from pamc_devices.failures import failure, last_words
from pamc_devices.folders import cache_folder
from pamc_devices.scripts import script
from pamc_devices.states import BusyError, DamagedError

__all__ = ["locked"]

_DAY = 24 * 60 * 60
_HELD = 75
_POLL = 1.0
_ATTEMPTS = 5
_NAME = re.compile(r"[0-9a-f]{32}")
_RELEASE = 'IFS= read -r owner <"$1/owner" && [ "${owner#* * }" = "$2" ] && mv "$1" "$1.gone-$$" && rm -rf "$1.gone-$$"'


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who holds a lock: for people, and for the machine that it comes from to see whether it still lives."""

    who: str
    purpose: str
    client: str
    holder: str


@dataclass(frozen=True, slots=True)
class _Held:
    """A lock as it lies on the device: its whole text, its owner where that can be read, its age in seconds."""

    text: str
    owner: _Owner | None
    age: int | None
    restarted: bool


@contextmanager
def locked(device: Device, purpose: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``device``, for ``purpose`` (a word or two, for whoever is kept out).

    Raises BusyError, which says who holds it and since when, if it is not free within ``wait`` seconds.
    """
    folder = cache_folder() / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    holder = secrets.token_hex(16)
    owner = _Owner(f"{_user()}@{platform.node()}, process {os.getpid()}", purpose, _client(folder), holder)
    path = f"{device.home()}/lock"
    alive = folder / f"{holder}.holder"
    with FileLock(alive):
        try:
            text = _acquire(device, path, owner, folder, time.monotonic() + wait)
            try:
                yield
            finally:
                # A device that is gone keeps the lock; the next pamc of this machine sees that its holder is too.
                with suppress(DeviceError):
                    device.run(["sh", "-c", _RELEASE, "sh", path, text])
        finally:
            alive.unlink(missing_ok=True)


def _acquire(device: Device, path: str, owner: _Owner, folder: Path, deadline: float) -> str:
    text = json.dumps(asdict(owner), sort_keys=True)
    gone: list[str] = []
    unreadable = broken = 0
    while True:
        result = device.run(["sh", "-c", script("lock.sh"), "sh", path, text, *gone])
        if result.status == 0:
            return text
        if result.status != _HELD:
            raise failure(["taking the lock"], result, device.url)
        held = _read(result)
        # Between the folder and the text in it there is a moment; one that lasts is a holder that was killed in it.
        unreadable = unreadable + 1 if held.owner is None else 0
        free = unreadable > 2 or _is_free(held, folder)
        gone = [held.text] if free else []
        broken += free
        if broken > _ATTEMPTS:
            cure = f"remove the folder {path} on the device"
            raise DamagedError("the lock cannot be read and comes back when it is removed", where=device.url, cure=cure)
        if not free:
            if held.owner is not None and time.monotonic() >= deadline:
                raise _busy(held, device.url, path)
            time.sleep(_POLL)


def _read(result: Result) -> _Held:
    head, _, text = result.stdout.decode("utf-8", "replace").partition("\n")
    text = text.partition("\n")[0]
    now, _, boot = head.partition(" ")
    since, _, rest = text.partition(" ")
    boot_then, _, described = rest.partition(" ")
    try:
        values = json.loads(described)
        owner = _Owner(**{name: str(value) for name, value in values.items()})
        age = int(now) - int(since)
    except (ValueError, TypeError, AttributeError):
        return _Held(text, None, None, False)
    return _Held(text, owner, age, bool(boot and boot_then and boot != boot_then))


def _is_free(held: _Held, folder: Path) -> bool:
    if held.owner is None or held.age is None:
        return False
    if held.restarted or held.age > _DAY:
        return True
    if held.owner.client != _client(folder) or not _NAME.fullmatch(held.owner.holder):
        return False
    alive = folder / f"{held.owner.holder}.holder"
    if not alive.exists():
        return True
    try:
        with FileLock(alive, timeout=0):
            alive.unlink(missing_ok=True)
            return True
    except Timeout:
        return False


def _busy(held: _Held, url: str, path: str) -> BusyError:
    assert held.owner is not None and held.age is not None
    who, purpose = last_words(held.owner.who, 80), last_words(held.owner.purpose, 80)
    return BusyError(
        f"{who} uses the device ({purpose}), for {_duration(held.age)} now",
        where=url,
        cure=f"wait until it has ended; if you are sure that it is gone, remove the folder {path} on the device",
    )


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _client(folder: Path) -> str:
    """A random name of this cache folder: holders that share it can see each other's files."""
    path = folder / "client"
    with FileLock(folder / "client.lock"):
        if not path.exists():
            path.write_text(secrets.token_hex(16), encoding="ascii")
        return path.read_text(encoding="ascii")
