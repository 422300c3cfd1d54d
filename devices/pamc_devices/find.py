"""Opens devices by their addresses and lists those at hand. Drivers are found by the entry points `pamc.devices`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from pamc.errors import ConfigError, DeviceError, InternalError
from pamc_devices.address import parse_address
from pamc_devices.base import GROUP, Device, Driver, Listed

__all__ = ["list_devices", "open_device", "opened", "schemes"]


def schemes() -> tuple[str, ...]:
    """The kinds of address that are known, in alphabetical order."""
    return tuple(_found())


def open_device(url: str) -> Device:
    """The device at ``url``. Connects at the first use, not here.

    Raises ConfigError for an address that cannot be one, with the nearest known kind.
    """
    address = parse_address(url)
    return _driver(address.scheme).open(address)


@contextmanager
def opened(url: str) -> Iterator[Device]:
    """The device at ``url``, closed at the end."""
    device = open_device(url)
    try:
        yield device
    finally:
        device.close()


def list_devices() -> tuple[Listed, ...]:
    """The devices that every driver can see without a connection, in the order of the drivers' names.

    A driver that fails is listed with its reason as the state.
    """
    found: list[Listed] = []
    for scheme in schemes():
        try:
            found.extend(_driver(scheme).listed())
        except (ConfigError, DeviceError) as error:
            found.append(Listed(f"{scheme}://", "not usable", " ".join(str(error).split())))
    return tuple(found)


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def _driver(scheme: str) -> Driver:
    found = _found()
    if scheme not in found:
        near = get_close_matches(scheme.lower(), found, n=1, cutoff=0.6)
        hint = f", did you mean '{near[0]}'?" if near else ""
        known = f"use one of: {', '.join(found)}" if found else "install pamc again; it comes with 'local'"
        raise ConfigError(f"no kind of device is called '{scheme}'{hint}", cure=known)
    try:
        driver = found[scheme].load()
    except ImportError as error:
        raise ConfigError(
            f"devices of kind '{scheme}' cannot be used", why=str(error), cure="install the package that provides them"
        ) from error
    if not isinstance(driver, Driver):
        raise InternalError(f"the entry point '{scheme}' of {GROUP} is not a Driver")
    return driver
