"""A device with bundles and a runner on it: what measures there goes through the runner's commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pamc.errors import ConfigError
from pamc_bench.request import Request, cpu_list
from pamc_bench.results import Block, Conditions, DeviceEntry, Key, Memory, Protocol
from pamc_bench.rounds import block_of
from pamc_devices import messages
from pamc_devices.base import Device
from pamc_devices.deploy import Deployed, deploy
from pamc_devices.deployment import Program, pack
from pamc_devices.find import opened
from pamc_devices.info import DeviceInfo
from pamc_devices.lock import locked
from pamc_devices.messages import raise_failure, read_lines
from pamc_devices.probe import probe
from pamc_devices.programs import program_for
from pamc_devices.states import DamagedError

__all__ = [
    "BoardStation",
    "Programs",
    "bench_options",
    "conditions_of",
    "cpus_of",
    "entry_of",
    "open_station",
    "time_limit",
    "version_of",
]

# Seconds beyond what the runs themselves take: reading a network, its first inference, the end of the warm-up.
STARTING = 120.0
EMULATED = 20.0  # times as long on an emulated device
FEW = Protocol(blocks=1, min_runs=3, min_seconds=0.0, warmup_runs=1, warmup_seconds=0.0, warmup_max_seconds=0.0)


def bench_options(key: Key, protocol: Protocol) -> list[str]:
    """The options of the runner for one block."""
    numbers = {
        "--threads": key.threads,
        "--min-runs": protocol.min_runs,
        "--min-seconds": protocol.min_seconds,
        "--max-seconds": protocol.max_seconds,
        "--warmup-runs": protocol.warmup_runs,
        "--warmup-seconds": protocol.warmup_seconds,
        "--warmup-max-seconds": protocol.warmup_max_seconds,
    }
    options = ["--tasks", key.task_set]
    for option, value in numbers.items():
        options += [option, f"{value:g}"]
    return options + (["--cpus", key.cpus] if key.cpus else [])


def entry_of(info: DeviceInfo) -> DeviceEntry:
    """What a result says about a device."""
    libc = " ".join(filter(None, (info.libc, info.libc_version)))
    return DeviceEntry(
        model=info.model,
        machine=info.abi or info.machine or "unknown",
        emulated=info.emulated,
        system=", ".join(filter(None, (info.system, info.kernel, libc))) or "unknown",
        cpus=max(1, len(info.cores)),
        # Lists for tuples, as a file gives them back.
        details=json.loads(json.dumps(info.as_data())),
        conditions=(),
    )


def conditions_of(info: DeviceInfo, seconds: float) -> Conditions:
    """The state of a device in the form of a result."""
    battery = None
    if info.battery is not None:
        charge = "" if info.battery.percent is None else f"{info.battery.percent} %, "
        battery = charge + ("discharging" if info.battery.discharging else "not discharging")
    return Conditions(
        seconds=seconds,
        load=info.load,
        celsius=info.celsius,
        governors=info.governors,
        megahertz=tuple(core.cap_mhz for core in info.cores if core.cap_mhz is not None),
        throttled=info.throttled,
        throttled_before=info.throttled_before,
        battery=battery,
    )


def cpus_of(info: DeviceInfo, cores: str) -> str | None:
    """The CPUs that ``cores`` (see `request.parse_cpus`) are there; None for all. ConfigError when it has none such."""
    if cores == "all":
        return None
    named = {"big": info.big_cores, "little": info.little_cores}
    if cores in named:
        if not named[cores]:
            raise ConfigError(f"the device has no {cores} cores", where=info.url, cure="use --cores all")
        return cpu_list(set(named[cores]))
    return cores


def time_limit(info: DeviceInfo, seconds: float) -> float:
    """How long a process that measures for ``seconds`` may take there."""
    return (seconds + STARTING) * (EMULATED if info.emulated else 1.0)


Programs = Callable[[DeviceInfo, str], Program]
"""What chooses the program for a runtime on a device, as `programs.program_for` does."""


class BoardStation:
    """A device on which every bundle of ``request`` lies with a runner for every runtime, each proven there."""

    def __init__(
        self, device: Device, info: DeviceInfo, request: Request, deployed: Mapping[tuple[str, str], Deployed]
    ) -> None:
        self._device = device
        self._info = info
        self._deployed = deployed
        self._versions: dict[str, str] = {}
        for runtime in request.runtimes:
            self._versions[runtime] = version_of(deployed[next(iter(request.bundles)), runtime])

    def entry(self) -> DeviceEntry:
        """What the device is; without conditions and findings."""
        return entry_of(self._info)

    def conditions(self, seconds: float) -> Conditions:
        """The state that it is in now."""
        return conditions_of(probe(self._device), seconds)

    def cpus(self, cores: str) -> str | None:
        """The CPUs to bind processes to; None for all of them. ConfigError when the device has none such."""
        return cpus_of(self._info, cores)

    def version(self, runtime: str) -> str:
        """The version of a runtime there."""
        return self._versions[runtime]

    def _ask(self, key: Key, protocol: Protocol, seconds: float) -> tuple[messages.Message, ...]:
        timeout = time_limit(self._info, seconds)
        return self._deployed[key.bundle, key.runtime].ask("bench", *bench_options(key, protocol), timeout=timeout)

    def block(self, key: Key, protocol: Protocol, round: int, seconds: float) -> Block:
        """One block of a variant, begun ``seconds`` after the measurement."""
        longest = max(protocol.max_seconds, protocol.min_seconds) + protocol.warmup_max_seconds
        return block_of(self._ask(key, protocol, longest), key.task_set, round, seconds)

    def memory(self, key: Key) -> Memory:
        """The memory of a process that runs the variant a few times: keeping many samples takes memory as well."""
        found = [line for line in self._ask(key, FEW, 0.0) if isinstance(line, messages.Memory)]
        if len(found) != 1:
            raise DamagedError(
                "the runner's answer is not that of a benchmark",
                where=self._device.url,
                why="it has no memory",
                cure="try again",
            )
        return Memory(found[0].vm_hwm_kib, found[0].vm_rss_kib)


def version_of(deployed: Deployed) -> str:
    """The version of the runtime that the runner of a deployment finds there."""
    # Of all commands this one alone takes no folder.
    argv = [word for word in deployed.argv("info") if word != f"{deployed.folder}/{deployed.bundle}"]
    lines = read_lines(deployed.device.run(argv, timeout=STARTING))
    raise_failure(lines, deployed.device.url)
    return next(line.runtime_version for line in lines if isinstance(line, messages.Info))


@contextmanager
def open_station(url: str, request: Request, choose: Programs = program_for) -> Iterator[BoardStation]:
    """The device at ``url``, locked, with what ``request`` measures in its store, proven by the golden vectors.

    No pointer of the store is touched, so what is deployed stays in use; what was sent stays as a cache until the next
    `pamc deploy --prune`. Raises DeviceError, and VerificationError when a network answers wrongly there.
    """
    with opened(url) as device, locked(device, "bench"):
        info = probe(device)
        chosen = {runtime: choose(info, runtime) for runtime in request.runtimes}
        deployed = {
            (name, runtime): deploy(device, pack(bundle, request.task_sets, program), switch=False).deployed
            for name, bundle in request.bundles.items()
            for runtime, program in chosen.items()
        }
        yield BoardStation(device, info, request, deployed)
