"""Profiles of boards and phones: what to build for them, and how to measure on them. YAML files in `profiles`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from pamc.errors import InternalError
from pamc_devices.info import DeviceInfo

__all__ = ["Profile", "match_profile", "profile_names", "profiles"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of board or phone.

    A device is of this kind when its model begins with one of ``models`` or its SoC is one of ``socs``; where neither
    is given, when its C library is one of ``libcs``. ``targets`` are the names for `--target` by the ABI of the
    device's programs. ``threads`` is the number of threads of one inference, and ``cores`` ("all" or "big") those to
    run it on. ``cooling`` and ``power`` say what a measurement has to heed.
    """

    name: str
    description: str
    models: tuple[str, ...]
    socs: tuple[str, ...]
    libcs: tuple[str, ...]
    targets: Mapping[str, str]
    threads: int
    cores: str
    cooling: str
    power: str

    def fits(self, info: DeviceInfo) -> bool:
        """Whether a device is of this kind."""
        if info.abi not in self.targets:
            return False
        if self.models or self.socs:
            model = info.model.lower()
            return any(model.startswith(name.lower()) for name in self.models) or info.soc in self.socs
        return info.libc in self.libcs

    def target(self, abi: str | None = None) -> str:
        """The name for `--target`, for programs of ``abi``; without one, that of the ABI it is best used with."""
        return self.targets.get(abi or "") or next(iter(self.targets.values()))


@cache
def profiles() -> tuple[Profile, ...]:
    """All profiles, those of particular devices first, each part in alphabetical order."""
    found = [
        _read(entry.name.removesuffix(".yaml"), entry.read_text(encoding="utf-8"))
        for entry in files("pamc_devices").joinpath("profiles").iterdir()
        if entry.name.endswith(".yaml")
    ]
    return tuple(sorted(found, key=lambda profile: (not (profile.models or profile.socs), profile.name)))


def profile_names() -> tuple[str, ...]:
    """Names of the profiles, in the order of `profiles`."""
    return tuple(profile.name for profile in profiles())


def match_profile(info: DeviceInfo) -> Profile | None:
    """The profile of a device, the particular before the general; None when no profile knows its ABI."""
    return next((profile for profile in profiles() if profile.fits(info)), None)


def _read(name: str, text: str) -> Profile:
    from ruamel.yaml import YAML

    data = YAML(typ="safe", pure=True).load(text)
    expected = {field.name for field in fields(Profile)} - {"name"}
    if not isinstance(data, dict) or set(data) != expected:
        raise InternalError(f"the profile {name}.yaml must hold exactly {sorted(expected)}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Profile(name, **values)
