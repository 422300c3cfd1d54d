"""Says what is wrong with a device, and what to do about each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from pamc.errors import DeviceError
from pamc_devices.board_profiles import match_profile
from pamc_devices.info import DeviceInfo

__all__ = ["Finding", "check_device", "check_machine", "unreachable"]

# ONNX Runtime's builds for Linux ask for this release of glibc.
_GLIBC = (2, 28)
_ANDROID_SDK = 24
_ROOM_MIB = 100
_MEMORY_MIB = 100
_HOT = 80.0
_WARM = 70.0
_LOW_BATTERY = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to change. ``must``: nothing runs there, or no measurement means anything, until it is changed."""

    what: str
    cure: str
    must: bool


def unreachable(error: DeviceError) -> Finding:
    """The finding for a device that cannot be asked."""
    what = f"{error.what} ({error.why})" if error.why else error.what
    return Finding(what, error.cure or "see docs/devices.md", True)


def check_device(info: DeviceInfo) -> tuple[Finding, ...]:
    """What should be changed on a device, what must be first."""
    found = [*_programs(info), *_storage(info), *_speed(info), *_power(info)]
    return tuple(sorted(found, key=lambda finding: not finding.must))


def check_machine() -> tuple[Finding, ...]:
    """What this machine lacks to reach devices."""
    found = []
    if shutil.which("ssh") is None:
        found.append(Finding("ssh is not installed", "apt-get install openssh-client, for boards over ssh", False))
    from pamc_devices.adb import adb_program

    try:
        adb_program()
    except DeviceError as error:
        found.append(Finding("adb is not installed", f"{error.cure}, for Android devices", False))
    return tuple(found)


def _programs(info: DeviceInfo) -> Iterator[Finding]:
    profile = match_profile(info)
    if profile is None:
        yield Finding(f"pamc builds nothing for {info.abi or 'its processor'}", "use another device", True)
    elif info.abi == "armv7l":
        if info.machine == "aarch64":
            yield Finding(
                "the processor has 64 bits and the system's programs 32",
                "install the 64-bit system: it is faster, and ONNX Runtime has no builds for 32 bits",
                False,
            )
        else:
            yield Finding("ONNX Runtime has no builds for 32-bit ARM", "use LiteRT: --runtime litert", False)
    if info.libc == "glibc" and info.libc_version and _version(info.libc_version) < _GLIBC:
        needed = ".".join(map(str, _GLIBC))
        yield Finding(
            f"glibc {info.libc_version} is older than {needed}, which ONNX Runtime needs",
            "update the system to a newer release",
            True,
        )
    if info.libc == "musl":
        yield Finding("the C library is musl, for which ONNX Runtime has no builds", "use a system with glibc", True)
    if info.android and info.libc_version and int(info.libc_version) < _ANDROID_SDK:
        yield Finding(
            f"Android's API level {info.libc_version} is below {_ANDROID_SDK}", "use Android 7 or newer", True
        )
    # This machine's own networks run in the Python of pamc.
    if (
        not info.android
        and info.url.partition(":")[0] != "local"
        and not {"ai-edge-litert", "tflite-runtime"} & set(info.packages)
    ):
        cure = (
            "only for --runtime litert: python3 -m pip install ai-edge-litert, in the Python that python3 starts there"
        )
        yield Finding("no LiteRT in the device's Python", cure, False)


def _storage(info: DeviceInfo) -> Iterator[Finding]:
    disk = info.storage
    elsewhere = f"name another folder at the end of the address: {info.url.rstrip('/')}/path"
    if disk.read_only:
        yield Finding(f"{disk.folder} is mounted read-only", f"mount it writable, or {elsewhere}", True)
    if disk.noexec:
        yield Finding(f"programs in {disk.folder} may not run (noexec)", elsewhere, True)
    if disk.free_mib is not None and disk.free_mib < _ROOM_MIB:
        yield Finding(f"{disk.free_mib} MiB free in {disk.folder}", f"delete files there, or {elsewhere}", True)
    if info.free_memory_mib is not None and info.free_memory_mib < _MEMORY_MIB:
        yield Finding(f"{info.free_memory_mib} MiB of memory free", "end what else runs there", False)


def _speed(info: DeviceInfo) -> Iterator[Finding]:
    profile = match_profile(info)
    cooling = profile.cooling if profile else "cool it"
    supply = profile.power if profile else "use the maker's own supply"
    for reason in info.throttled:
        yield Finding(f"slowed down now: {reason}", supply if reason == "under-voltage" else cooling, True)
    for reason in info.throttled_before:
        if reason not in info.throttled:
            cure = f"{supply if reason == 'under-voltage' else cooling}; a restart forgets it"
            yield Finding(f"was slowed down since it was switched on: {reason}", cure, False)
    if info.celsius is not None and info.celsius > _WARM:
        yield Finding(f"{info.celsius:.0f} °C", f"let it cool down; {cooling}", info.celsius > _HOT)
    loose = [governor for governor in info.governors if governor not in ("performance", "userspace")]
    if loose:
        setting = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        cure = "keep it warm before measuring; it cannot be set without root" if info.android else setting
        yield Finding(f"the frequency of its cores moves (governor {', '.join(loose)})", cure, False)
    capped = [core.index for core in info.cores if core.cap_mhz and core.max_mhz and core.cap_mhz < core.max_mhz]
    if capped:
        yield Finding(f"the frequency of cores {', '.join(map(str, capped))} is limited now", cooling, False)
    if info.load is not None and info.cores and info.load > 0.5 * len(info.cores):
        yield Finding(f"load {info.load:.1f} on {len(info.cores)} cores", "end what else runs there", False)


def _power(info: DeviceInfo) -> Iterator[Finding]:
    battery = info.battery
    if battery is not None and battery.discharging:
        low = battery.percent is not None and battery.percent < _LOW_BATTERY
        level = "" if battery.percent is None else f", {battery.percent} % left"
        yield Finding(f"runs on its battery{level}", "connect the charger", low)
    if info.screen_on is False:
        yield Finding("its screen is off, so its fast cores may be", "adb shell svc power stayon usb", False)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
