"""What is known of a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Battery", "Cluster", "Core", "DeviceInfo", "Storage"]


@dataclass(frozen=True, slots=True)
class Core:
    """One CPU. Frequencies are in MHz; ``cap_mhz`` is the highest that the system allows now.

    ``capacity`` is the kernel's measure of its speed, 1024 for the fastest of the device. None where nothing is told.
    """

    index: int
    part: str | None = None
    max_mhz: int | None = None
    cap_mhz: int | None = None
    now_mhz: int | None = None
    capacity: int | None = None
    governor: str | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """CPUs of the same speed."""

    cores: tuple[int, ...]
    part: str | None
    max_mhz: int | None


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery: its charge in percent, and whether it loses charge now."""

    percent: int | None
    discharging: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """The file system of pamc's folder on the device."""

    folder: str
    free_mib: int | None = None
    kind: str | None = None
    read_only: bool = False
    noexec: bool = False


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a device is and how it is now; None or empty where it does not tell.

    ``abi`` is that of the programs it runs (aarch64, armv7l, x86_64, i686, ...), also where ``machine``, the kernel's,
    is another. ``libc`` is "glibc", "bionic" or "musl" with ``libc_version``, for bionic the API level.
    ``temperatures`` are in °C by the name of the sensor. ``throttled`` are reasons for which the device runs slower
    now, ``throttled_before`` those since it was switched on. ``load`` is the number of processes that wanted a CPU over
    the last minute. ``packages`` are the versions of the runtimes in its Python. ``boot`` names this run of its kernel
    and ``clock`` is its time in seconds since 1970.
    """

    url: str
    emulated: bool
    model: str
    soc: str | None
    system: str | None
    kernel: str | None
    machine: str | None
    abi: str | None
    libc: str | None
    libc_version: str | None
    cores: tuple[Core, ...]
    memory_mib: int | None
    free_memory_mib: int | None
    load: float | None
    storage: Storage
    temperatures: Mapping[str, float] = field(default_factory=dict)
    throttled: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    battery: Battery | None = None
    screen_on: bool | None = None
    python: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    boot: str | None = None
    clock: int | None = None

    @property
    def android(self) -> bool:
        """Whether it is an Android device."""
        return self.libc == "bionic"

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        """The CPUs by speed, slowest first: by capacity where the kernel tells it, by highest frequency elsewhere."""
        by_capacity = all(core.capacity is not None for core in self.cores)
        groups: dict[int, list[Core]] = {}
        for core in self.cores:
            speed = core.capacity if by_capacity else core.max_mhz
            groups.setdefault(speed or 0, []).append(core)
        return tuple(
            Cluster(tuple(core.index for core in group), group[0].part, group[0].max_mhz)
            for _, group in sorted(groups.items())
        )

    @property
    def little_cores(self) -> tuple[int, ...]:
        """The CPUs of the slowest kind; none where all are the same."""
        return self.clusters[0].cores if len(self.clusters) > 1 else ()

    @property
    def big_cores(self) -> tuple[int, ...]:
        """The CPUs that are not of the slowest kind; all where all are the same."""
        clusters = self.clusters[1:] or self.clusters
        return tuple(sorted(index for cluster in clusters for index in cluster.cores))

    @property
    def celsius(self) -> float | None:
        """The temperature of the hottest processor sensor, in °C; of any sensor where none is known as one."""
        processors = ("cpu", "soc", "apss", "gpu", "big", "little", "x86_pkg", "core", "vcgencmd")
        known = {name: value for name, value in self.temperatures.items() if name.lower().startswith(processors)}
        return max((known or self.temperatures).values(), default=None)

    @property
    def governors(self) -> tuple[str, ...]:
        """The frequency governors in use."""
        return tuple(sorted({core.governor for core in self.cores if core.governor}))

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "clusters": [asdict(cluster) for cluster in self.clusters], "celsius": self.celsius}
