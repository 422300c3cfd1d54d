"""What a board's kernel says of itself in /proc and /sys, written to a folder.

Programs that run under emulation read these files of the host. ONNX Runtime 1.30 and later even ends with a
segmentation fault on an arm64 build that finds an x86 processor there. A root that holds a board's files hides the
host's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BOARDS", "Board", "Cluster", "write_board_files"]

_V8_0 = "fp asimd evtstrm crc32 cpuid"
_V8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_CPU = "sys/devices/system/cpu"


@dataclass(frozen=True, slots=True)
class Cluster:
    """``count`` equal cores: Arm's part number and revision, the frequency range in kHz, the relative capacity."""

    count: int
    part: int
    revision: int
    least_khz: int
    most_khz: int
    features: str
    capacity: int = 1024


@dataclass(frozen=True, slots=True)
class Board:
    """A board as programs see it. ``cpu`` is QEMU's name of the processor, the one of the big cores."""

    model: str
    compatible: tuple[str, ...]
    cpu: str
    revision: str
    clusters: tuple[Cluster, ...]

    @property
    def cores(self) -> list[Cluster]:
        """The cluster of every core, by the core's number."""
        return [cluster for cluster in self.clusters for _ in range(cluster.count)]

    @property
    def megahertz(self) -> int:
        """The highest clock of any core."""
        return max(cluster.most_khz for cluster in self.clusters) // 1000


BOARDS = {
    "rpi3": Board(
        "Raspberry Pi 3 Model B Rev 1.2",
        ("raspberrypi,3-model-b", "brcm,bcm2837"),
        "cortex-a53",
        "a02082",
        (Cluster(4, 0xD03, 4, 600_000, 1_200_000, _V8_0),),
    ),
    "rpi4": Board(
        "Raspberry Pi 4 Model B Rev 1.4",
        ("raspberrypi,4-model-b", "brcm,bcm2711"),
        "cortex-a72",
        "c03114",
        (Cluster(4, 0xD08, 3, 600_000, 1_800_000, _V8_0),),
    ),
    "rpi5": Board(
        "Raspberry Pi 5 Model B Rev 1.0",
        ("raspberrypi,5-model-b", "brcm,bcm2712"),
        "cortex-a76",
        "c04170",
        (Cluster(4, 0xD0B, 1, 1_500_000, 2_400_000, _V8_2),),
    ),
}
"""The boards that are emulated, by the host part of their address."""


def _cpuinfo(board: Board) -> str:
    cores = [
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {core.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0x{core.part:03x}\nCPU revision\t: {core.revision}\n\n"
        for number, core in enumerate(board.cores)
    ]
    return "".join(cores) + f"Revision\t: {board.revision}\nSerial\t\t: 0000000000000000\nModel\t\t: {board.model}\n"


def _core_files(number: int, core: Cluster, members: range, count: int) -> dict[str, str | int]:
    middle = 0x41 << 24 | 0xF << 16 | core.part << 4 | core.revision
    together = f"{members.start}-{members.stop - 1}"
    return {
        "online": 1,
        "cpu_capacity": core.capacity,
        "cpufreq/affected_cpus": " ".join(map(str, members)),
        "cpufreq/cpuinfo_max_freq": core.most_khz,
        "cpufreq/cpuinfo_min_freq": core.least_khz,
        "cpufreq/scaling_max_freq": core.most_khz,
        "cpufreq/scaling_min_freq": core.least_khz,
        "cpufreq/scaling_cur_freq": core.most_khz,
        "cpufreq/scaling_governor": "ondemand",
        "cpufreq/scaling_available_governors": "conservative ondemand userspace powersave performance schedutil",
        "regs/identification/midr_el1": f"0x{middle:016x}",
        "topology/cluster_cpus_list": together,
        "topology/core_id": number,
        "topology/core_siblings": f"{(1 << count) - 1:x}",
        "topology/core_siblings_list": f"0-{count - 1}",
        "topology/package_cpus_list": f"0-{count - 1}",
        "topology/physical_package_id": 0,
        "topology/thread_siblings_list": number,
    }


def write_board_files(board: Board, root: Path) -> None:
    """Write the files of ``board`` below ``root``: processor, frequencies, temperature, throttling, model."""
    count = len(board.cores)
    files: dict[str, str | int] = {f"{_CPU}/{name}": f"0-{count - 1}" for name in ("possible", "present", "online")}
    files[f"{_CPU}/kernel_max"] = 255
    first = 0
    for cluster in board.clusters:
        members = range(first, first + cluster.count)
        for number in members:
            for name, value in _core_files(number, cluster, members, count).items():
                files[f"{_CPU}/cpu{number}/{name}"] = value
        first = members.stop
    files["sys/class/thermal/thermal_zone0/type"] = "cpu-thermal"
    files["sys/class/thermal/thermal_zone0/temp"] = 48_312
    files["sys/devices/platform/soc/soc:firmware/get_throttled"] = 0
    texts = {name: f"{value}\n" for name, value in files.items()}
    texts["proc/cpuinfo"] = _cpuinfo(board)
    for tree in ("proc/device-tree", "sys/firmware/devicetree/base"):
        texts[f"{tree}/model"] = f"{board.model}\0"
        texts[f"{tree}/compatible"] = "".join(f"{name}\0" for name in board.compatible)
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
