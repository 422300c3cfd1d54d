"""Kinds of devices that a runner is built for."""

from __future__ import annotations

from dataclasses import dataclass

from pamc_devices.states import WrongArchitectureError

__all__ = ["GLIBC", "PLATFORMS", "Platform", "platform_of"]

GLIBC = "2.28"
"""The oldest glibc that a runner starts on, where zig builds it: Debian 10, Raspberry Pi OS of 2019."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A processor with a C library. ``zig`` and ``gcc`` name it for these compilers, ``libc`` is glibc or bionic."""

    name: str
    abis: tuple[str, ...]
    libc: str
    zig: str
    gcc: str


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform("linux-aarch64", ("aarch64",), "glibc", "aarch64-linux-gnu", "aarch64-linux-gnu"),
        Platform("linux-armv7", ("armv7l", "armv8l"), "glibc", "arm-linux-gnueabihf", "arm-linux-gnueabihf"),
        Platform("linux-x86_64", ("x86_64",), "glibc", "x86_64-linux-gnu", "x86_64-linux-gnu"),
        # Compiled with glibc's headers, which agree with bionic's in all that the runner uses; see android/.
        Platform("android-arm64", ("aarch64", "arm64-v8a"), "bionic", "aarch64-linux-gnu", "aarch64-linux-gnu"),
    )
}


def platform_of(abi: str | None, libc: str | None) -> Platform:
    """The platform of a device whose programs are of ``abi`` and use ``libc``. WrongArchitectureError for any other."""
    for platform in PLATFORMS.values():
        if abi in platform.abis and libc == platform.libc:
            return platform
    known = ", ".join(f"{platform.abis[0]} with {platform.libc}" for platform in PLATFORMS.values())
    raise WrongArchitectureError(
        f"there is no runner for a device of {abi or 'an unknown processor'} with {libc or 'an unknown C library'}",
        why=f"there are runners for {known}",
        cure="use the Python runner there: --runtime litert",
    )
