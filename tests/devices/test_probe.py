import json
from collections.abc import Mapping

import pytest

from pamc.errors import ConfigError
from pamc_devices.base import Device
from pamc_devices.board_profiles import match_profile, profile_names, profiles
from pamc_devices.doctor import check_device
from pamc_devices.find import open_device
from pamc_devices.info import DeviceInfo
from pamc_devices.probe import probe, read_probe
from pamc_devices.states import DamagedError

MARK = "00ff" * 4
CPU = "/sys/devices/system/cpu/cpu"
A64 = b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00"
A32 = b"\x7fELF\x01\x01\x01" + bytes(11) + b"\x28\x00"


def arm(parts: list[int]) -> str:
    return "\n".join(
        f"processor\t: {i}\nCPU implementer\t: 0x41\nCPU part\t: {part:#x}\n" for i, part in enumerate(parts)
    )


def cpus(rows: list[tuple[int, int | None]], governor: str = "performance") -> dict[str, str]:
    """Files of sysfs for CPUs of a highest frequency in MHz and a capacity."""
    found = {}
    for index, (mhz, capacity) in enumerate(rows):
        found[f"{CPU}{index}/cpufreq/cpuinfo_max_freq"] = f"{mhz * 1000}\n"
        found[f"{CPU}{index}/cpufreq/scaling_governor"] = f"{governor}\n"
        if capacity is not None:
            found[f"{CPU}{index}/cpu_capacity"] = f"{capacity}\n"
    return found


GNU = "GNU C Library (Debian GLIBC 2.31-13+deb11u11) stable release version 2.31.\n"

PI = {
    "shell": A64,
    "uname -m": "aarch64\n",
    "df": "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/root 30000000 9000000 20480000 31% /\n",
    "/proc/cpuinfo": arm([0xD08] * 4),
    "/proc/meminfo": "MemTotal:        3884344 kB\nMemFree: 1 kB\nMemAvailable:    3145728 kB\n",
    "/proc/loadavg": "0.10 0.05 0.01 1/123 4567\n",
    "/proc/mounts": "tmpfs /home/pi/tmp tmpfs rw,noexec 0 0\n/dev/root / ext4 rw,noatime 0 0\n",
    "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian"\n',
    "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "/proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
    "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "/sys/class/thermal/thermal_zone0/temp": "48312\n",
    "vcgencmd get_throttled": "throttled=0x50000\n",
    "getconf GNU_LIBC_VERSION": "glibc 2.36\n",
    "python": json.dumps(
        {"python": "3.11.2", "packages": {"numpy": "2.4.6", "ai-edge-litert": "2.3.0", "onnxruntime": None}}
    ),
    **cpus([(1800, None)] * 4),
}
PHONE = {
    "shell": A64,
    "uname -m": "aarch64\n",
    "/proc/cpuinfo": arm([0xD05] * 4 + [0xD0B] * 2 + [0xD44] * 2),
    "getprop ro.product.manufacturer": "Google\n",
    "getprop ro.product.model": "Pixel 6\n",
    "getprop ro.board.platform": "gs101\n",
    "getprop ro.build.version.release": "14\n",
    "getprop ro.build.version.sdk": "34\n",
    "dumpsys battery": "Battery Service state:\n  AC powered: false\n  status: 3\n  present: true\n  level: 15\n",
    "dumpsys power": "POWER MANAGER\n  mWakefulness=Asleep\n",
    **cpus([(1803, 160)] * 4 + [(2253, 500)] * 2 + [(2802, 1024)] * 2, "sched_pixel"),
}


def read(parts: Mapping[str, str | bytes], home: str = "/home/pi/pamc") -> DeviceInfo:
    text = b"noise\n"
    for name, value in {**parts, "end": ""}.items():
        text += f"\n@{MARK} {name}\n".encode() + (value if isinstance(value, bytes) else value.encode())
    return read_probe(text, MARK, "ssh://board", False, home)


def told(info: DeviceInfo) -> str:
    return "\n".join(f"{'MUST' if item.must else 'may'} {item.what} | {item.cure}" for item in check_device(info))


def test_a_raspberry_pi() -> None:
    info = read(PI)
    assert (info.model, info.soc) == ("Raspberry Pi 4 Model B Rev 1.4", "bcm2711")
    assert (info.abi, info.libc, info.libc_version) == ("aarch64", "glibc", "2.36")
    assert info.system == "Debian GNU/Linux 12 (bookworm)"
    assert [core.part for core in info.cores] == ["Cortex-A72"] * 4
    assert (info.cores[0].max_mhz, info.governors) == (1800, ("performance",))
    assert (info.memory_mib, info.free_memory_mib, info.load) == (3793, 3072, 0.1)
    assert (info.celsius, info.throttled) == (48.312, ())
    assert info.throttled_before == ("under-voltage", "throttled")
    assert (info.storage.free_mib, info.storage.kind, info.storage.noexec) == (20000, "ext4", False)
    assert info.packages == {"numpy": "2.4.6", "ai-edge-litert": "2.3.0"}
    assert (info.little_cores, info.big_cores) == ((), (0, 1, 2, 3))
    profile = match_profile(info)
    assert profile is not None and profile.name == "rpi4" and profile.target(info.abi) == "arm64"
    assert json.loads(json.dumps(info.as_data()))["celsius"] == 48.312


def test_a_phone() -> None:
    info = read(PHONE)
    assert info.android and (info.model, info.soc, info.system) == ("Google Pixel 6", "gs101", "Android 14")
    assert [cluster.cores for cluster in info.clusters] == [(0, 1, 2, 3), (4, 5), (6, 7)]
    assert [cluster.part for cluster in info.clusters] == ["Cortex-A55", "Cortex-A76", "Cortex-X1"]
    assert (info.little_cores, info.big_cores) == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert info.battery is not None and info.battery.percent == 15 and info.battery.discharging
    assert info.screen_on is False
    profile = match_profile(info)
    assert profile is not None and (profile.name, profile.target(info.abi)) == ("pixel-6", "android-arm64")
    assert "MUST runs on its battery, 15 % left" in told(info)
    assert "its screen is off" in told(info)


def test_a_32_bit_system_on_a_64_bit_processor() -> None:
    info = read({**PI, "shell": A32})
    assert (info.machine, info.abi) == ("aarch64", "armv7l")
    profile = match_profile(info)
    assert profile is not None and profile.target(info.abi) == "armv7"
    assert "install the 64-bit system" in told(info)


def test_an_armv6_board_is_no_armv7() -> None:
    info = read({**PI, "shell": A32, "uname -m": "armv6l\n"})
    assert info.abi == "armv6l" and match_profile(info) is None
    assert "MUST pamc builds nothing for armv6l" in told(info)


@pytest.mark.parametrize(
    ("libc", "expected"),
    [
        ({"getconf GNU_LIBC_VERSION": "", "libc.so.6": GNU}, ("glibc", "2.31")),
        ({"getconf GNU_LIBC_VERSION": "", "musl": ""}, ("musl", None)),
        ({"getconf GNU_LIBC_VERSION": ""}, (None, None)),
    ],
)  # fmt: skip
def test_c_libraries(libc: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    info = read({**PI, **libc})
    assert (info.libc, info.libc_version) == expected


@pytest.mark.parametrize(
    ("text", "now", "before"),
    [
        ("throttled=0x0\n", (), ()),
        ("throttled=0x5\n", ("under-voltage", "throttled"), ()),
        ("throttled=0xA0008\n", ("soft temperature limit",), ("frequency capped", "soft temperature limit")),
        ("nonsense\n", (), ()),
    ],
)
def test_throttle_flags(text: str, now: tuple[str, ...], before: tuple[str, ...]) -> None:
    info = read({**PI, "vcgencmd get_throttled": text})
    assert (info.throttled, info.throttled_before) == (now, before)


def test_the_folders_own_file_system_counts() -> None:
    disk = read(PI, "/home/pi/tmp/pamc").storage
    assert (disk.kind, disk.noexec) == ("tmpfs", True)
    assert read(PI, "/home/pi/tmpx").storage.kind == "ext4"


def test_nonsense_counts_as_not_told() -> None:
    junk = dict.fromkeys(PI, "\xff\0 nan -1e999 {[\n")
    info = read(junk)
    assert info.celsius is None and info.memory_mib is None and info.load is None and info.packages == {}
    check_device(info)


def test_an_answer_that_is_cut_off_is_refused() -> None:
    with pytest.raises(DamagedError):
        read_probe(f"\n@{MARK} uname -m\naarch64".encode(), MARK, "local", False, "/x")


def test_what_a_device_prints_cannot_pass_for_another_part() -> None:
    info = read({**PI, "/etc/os-release": "x\n@deadbeef uname -m\nx86_64\n"})
    assert info.machine == "aarch64"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"/proc/mounts": "/dev/root / ext4 ro 0 0\n"}, "MUST /home/pi/pamc is mounted read-only"),
        ({"/proc/mounts": "/dev/root / ext4 rw,noexec 0 0\n"}, "MUST programs in /home/pi/pamc may not run"),
        ({"df": "F 1K U A U% M on\n/dev/root 30000 9000 20000 31% /\n"}, "MUST 19 MiB free"),
        ({"getconf GNU_LIBC_VERSION": "glibc 2.24\n"}, "MUST glibc 2.24 is older than 2.28"),
        ({"getconf GNU_LIBC_VERSION": "", "musl": ""}, "MUST the C library is musl"),
        ({"/sys/class/thermal/thermal_zone0/temp": "85000\n"}, "MUST 85 °C"),
        ({"/sys/class/thermal/thermal_zone0/temp": "75000\n"}, "may 75 °C"),
        (
            {"vcgencmd get_throttled": "throttled=0x1\n"},
            "MUST slowed down now: under-voltage | a supply of 5.1 V and 3 A",
        ),
        ({"/proc/loadavg": "3.00 1 1 1/1 1\n"}, "may load 3.0 on 4 cores"),
        ({f"{CPU}0/cpufreq/scaling_governor": "ondemand\n"}, "may the frequency of its cores moves"),
        ({f"{CPU}2/cpufreq/scaling_max_freq": "1000000\n"}, "may the frequency of cores 2 is limited"),
        ({"python": ""}, "may no LiteRT"),
    ],
)
def test_the_doctor_finds(change: dict[str, str], words: str) -> None:
    assert words in told(read({**PI, **change}))


def test_the_doctor_is_content_with_a_board_that_has_nothing() -> None:
    assert told(read({**PI, "vcgencmd get_throttled": "throttled=0x0"})) == ""


def test_a_real_device_describes_itself(device: Device) -> None:
    info = probe(device)
    assert (
        info.cores and info.abi and info.libc and info.memory_mib and info.storage.free_mib and info.boot and info.clock
    )
    assert info.storage.folder == device.home()
    assert match_profile(info) is not None


def test_profiles_name_real_targets() -> None:
    from pamc.lower.target import target_names

    assert set(profile_names()) >= {
        "rpi3",
        "rpi4",
        "rpi5",
        "rpi-zero-2-w",
        "jetson-orin-nano",
        "android",
        "linux-arm64",
    }
    for profile in profiles():
        assert set(profile.targets.values()) <= set(target_names())
        assert profile.cores in ("all", "big") and profile.threads >= 1
        assert profile.models or profile.socs or profile.libcs
        assert profile.cooling and profile.power


def test_an_address_of_an_unknown_kind_is_no_device() -> None:
    with pytest.raises(ConfigError):
        open_device("nothing://x")
