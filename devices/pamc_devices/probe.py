"""Asks a device what it is: one script, one round trip, the same on Linux boards, on Android and here."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pamc_devices.base import Device
from pamc_devices.failures import failure
from pamc_devices.info import Battery, Core, DeviceInfo, Storage
from pamc_devices.scripts import script
from pamc_devices.states import DamagedError

__all__ = ["probe", "read_probe"]

_SECONDS = 60.0
_CPU = "/sys/devices/system/cpu/cpu"

# Arm's own designs by the "CPU part" of /proc/cpuinfo: Main ID Register, technical reference manual of each.
_ARM_PARTS = {
    0xB76: "ARM1176",
    0xC07: "Cortex-A7",
    0xC09: "Cortex-A9",
    0xC0F: "Cortex-A15",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
}
_ARM = 0x41

# e_machine of an ELF header, for 32-bit and 64-bit programs.
_ABIS = {(1, 3): "i686", (2, 62): "x86_64", (1, 40): "armv7l", (2, 183): "aarch64", (2, 243): "riscv64"}

# Bits 0 to 3 of get_throttled; 16 bits higher the same, since the board was switched on.
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_THROTTLE = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


def probe(device: Device) -> DeviceInfo:
    """What ``device`` is and how it is now. Raises what `Device.run` does; DamagedError for an incomplete answer."""
    home = device.home()
    token = secrets.token_hex(8)
    result = device.run(["sh", "-c", script("probe.sh")], env={"token": token, "home": home}, timeout=_SECONDS)
    if result.status:
        raise failure(["probing"], result, device.url)
    return read_probe(result.stdout, token, device.url, device.emulated, home)


def read_probe(output: bytes, token: str, url: str, emulated: bool, home: str) -> DeviceInfo:
    """The answer of `scripts/probe.sh`. Values that make no sense count as not told."""
    parts = _parts(output, token)
    if "end" not in parts:
        raise DamagedError("the device's description of itself is cut off", where=url, cure="try again")
    facts = {name: value.decode("utf-8", "replace").strip("\0\n ") for name, value in parts.items()}
    libc, libc_version = _libc(facts)
    now, before = _throttle(facts)
    python = _python(facts)
    return DeviceInfo(
        url=url,
        emulated=emulated or _under_qemu(facts.get("parent", "")),
        model=_model(facts),
        soc=_soc(facts),
        system=_system(facts),
        kernel=facts.get("uname -r") or None,
        machine=facts.get("uname -m") or None,
        abi=_abi(parts.get("shell", b""), facts.get("uname -m")),
        libc=libc,
        libc_version=libc_version,
        cores=_cores(facts),
        memory_mib=_memory(facts, "MemTotal"),
        free_memory_mib=_memory(facts, "MemAvailable"),
        load=_number(facts.get("/proc/loadavg", "").split(" ")[0]),
        storage=_storage(facts, home),
        temperatures=_temperatures(facts),
        throttled=now,
        throttled_before=before,
        battery=_battery(facts),
        screen_on=_screen(facts),
        python=python.get("python"),
        packages={name: version for name, version in python.get("packages", {}).items() if version},
        boot=facts.get("/proc/sys/kernel/random/boot_id") or None,
        clock=_whole(facts.get("date +%s")),
    )


def _under_qemu(command: str) -> bool:
    # A program of another architecture: its emulator is what the kernel runs, by itself or through binfmt_misc.
    program = command.split("\0")[0]
    return program.rpartition("/")[2].startswith("qemu-") or "/qemu-binfmt/" in program


def _parts(output: bytes, token: str) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    for piece in output.split(b"\n@" + token.encode() + b" ")[1:]:
        name, _, value = piece.partition(b"\n")
        # Libraries may be found in several folders; the first counts.
        parts.setdefault(name.decode("utf-8", "replace"), value)
    return parts


def _number(text: str | None) -> float | None:
    with suppress(TypeError, ValueError):
        value = float(text)  # type: ignore[arg-type]
        if abs(value) < 1e15:
            return value
    return None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None else int(value)


def _field(text: str, name: str) -> str | None:
    found = re.search(rf"^\s*{re.escape(name)}\s*[:=]\s*\"?(.*?)\"?\s*$", text, re.MULTILINE)
    return found[1] or None if found else None


def _tree(facts: Mapping[str, str], name: str) -> str | None:
    return facts.get(f"/sys/firmware/devicetree/base/{name}") or facts.get(f"/proc/device-tree/{name}")


def _model(facts: Mapping[str, str]) -> str:
    if tree := _tree(facts, "model"):
        return tree
    maker, product = facts.get("getprop ro.product.manufacturer", ""), facts.get("getprop ro.product.model", "")
    if product:
        return product if product.lower().startswith(maker.lower()) else f"{maker} {product}"
    board = [facts.get(f"/sys/class/dmi/id/{name}", "") for name in ("sys_vendor", "product_name")]
    return " ".join(filter(None, board)) or _field(facts.get("/proc/cpuinfo", ""), "model name") or "unknown"


def _soc(facts: Mapping[str, str]) -> str | None:
    if compatible := _tree(facts, "compatible"):
        return compatible.split("\0")[-1].rpartition(",")[2] or None
    android = facts.get("getprop ro.soc.model") or facts.get("getprop ro.board.platform")
    return android or _field(facts.get("/proc/cpuinfo", ""), "model name")


def _system(facts: Mapping[str, str]) -> str | None:
    if release := facts.get("getprop ro.build.version.release"):
        return f"Android {release}"
    return _field(facts.get("/etc/os-release", ""), "PRETTY_NAME") or facts.get("uname -s") or None


def _abi(header: bytes, machine: str | None) -> str | None:
    if header.startswith(b"\x7fELF") and len(header) >= 20:
        order = "little" if header[5] == 1 else "big"
        kind = int.from_bytes(header[18:20], order)  # type: ignore[arg-type]
        abi = _ABIS.get((header[4], kind))
        # The header does not tell ARMv6 from ARMv7.
        return machine if abi == "armv7l" and machine == "armv6l" else abi
    return machine


def _libc(facts: Mapping[str, str]) -> tuple[str | None, str | None]:
    if sdk := facts.get("getprop ro.build.version.sdk"):
        return "bionic", sdk
    told = facts.get("getconf GNU_LIBC_VERSION", "") + "\n" + facts.get("libc.so.6", "")
    if found := re.search(r"(?:^glibc |GNU C Library.*? version )(\d+\.\d+)", told, re.MULTILINE):
        return "glibc", found[1]
    return ("musl", None) if "musl" in facts else (None, None)


def _cores(facts: Mapping[str, str]) -> tuple[Core, ...]:
    described: dict[int, str] = {}
    for block in re.split(r"\n\s*\n", facts.get("/proc/cpuinfo", "")):
        index = _whole(_field(block, "processor"))
        if index is not None:
            described[index] = block
    in_sysfs = {int(name[len(_CPU) :].split("/")[0]) for name in facts if re.match(rf"{_CPU}\d+/", name)}
    # A CPU that is switched off is not in /proc/cpuinfo; without that file, what sysfs tells counts.
    indices = sorted(described) or sorted(in_sysfs)
    return tuple(_core(index, described.get(index, ""), facts) for index in indices)


def _core(index: int, block: str, facts: Mapping[str, str]) -> Core:
    def megahertz(name: str) -> int | None:
        kilohertz = _whole(facts.get(f"{_CPU}{index}/cpufreq/{name}"))
        return kilohertz // 1000 if kilohertz else None

    return Core(
        index=index,
        part=_part(block),
        max_mhz=megahertz("cpuinfo_max_freq"),
        cap_mhz=megahertz("scaling_max_freq"),
        now_mhz=megahertz("scaling_cur_freq") or _whole(_field(block, "cpu MHz")),
        capacity=_whole(facts.get(f"{_CPU}{index}/cpu_capacity")),
        governor=facts.get(f"{_CPU}{index}/cpufreq/scaling_governor") or None,
    )


def _part(block: str) -> str | None:
    with suppress(TypeError, ValueError):
        maker, part = (int(_field(block, name), 16) for name in ("CPU implementer", "CPU part"))  # type: ignore[arg-type]
        if maker == _ARM and part in _ARM_PARTS:
            return _ARM_PARTS[part]
        return f"implementer {maker:#04x}, part {part:#05x}"
    return _field(block, "model name")


def _memory(facts: Mapping[str, str], name: str) -> int | None:
    kilobytes = _whole((_field(facts.get("/proc/meminfo", ""), name) or "").removesuffix(" kB"))
    return None if kilobytes is None else kilobytes // 1024


def _storage(facts: Mapping[str, str], home: str) -> Storage:
    # The device's name may be long enough for a line of its own: columns count from the end.
    columns = facts.get("df", "").split()
    free = _whole(columns[-3]) if len(columns) > 10 else None
    found, kind, options = "", None, set()
    for line in facts.get("/proc/mounts", "").splitlines():
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        if len(point) >= len(found) and (home == point or home.startswith(point.rstrip("/") + "/")):
            found, kind, options = point, fields[2], set(fields[3].split(","))
    return Storage(home, None if free is None else free // 1024, kind, "ro" in options, "noexec" in options)


def _temperatures(facts: Mapping[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in facts.items():
        if not re.fullmatch(r"/sys/class/thermal/thermal_zone\d+/temp", name):
            continue
        degrees = _number(value)
        # Thousandths by the kernel's rule; some drivers tell whole degrees, and sensors that are off tell nonsense.
        if degrees is not None:
            degrees = degrees / 1000 if abs(degrees) >= 1000 else degrees
            if -40 < degrees < 150 and degrees != 0:
                zone = name.removesuffix("/temp")
                label = facts.get(f"{zone}/type") or zone.rpartition("/")[2]
                found[label if label not in found else f"{label} {zone.rpartition('zone')[2]}"] = degrees
    told = re.search(r"temp=([\d.]+)", facts.get("vcgencmd measure_temp", ""))
    if told and not found:
        found["vcgencmd"] = float(told[1])
    return found


def _throttle(facts: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    told = facts.get("vcgencmd get_throttled", "").removeprefix("throttled=")
    told = told or facts.get("/sys/devices/platform/soc/soc:firmware/get_throttled", "")
    try:
        bits = int(told, 16)
    except ValueError:
        return (), ()
    now = tuple(reason for bit, reason in enumerate(_THROTTLE) if bits >> bit & 1)
    return now, tuple(reason for bit, reason in enumerate(_THROTTLE) if bits >> (bit + 16) & 1)


def _battery(facts: Mapping[str, str]) -> Battery | None:
    if android := facts.get("dumpsys battery"):
        if _field(android, "present") == "false":
            return None
        # BatteryManager.BATTERY_STATUS_DISCHARGING
        return Battery(_whole(_field(android, "level")), _field(android, "status") == "3")
    for name, kind in facts.items():
        if name.startswith("/sys/class/power_supply/") and name.endswith("/type") and kind == "Battery":
            supply = name.removesuffix("/type")
            discharging = facts.get(f"{supply}/status", "").lower() == "discharging"
            return Battery(_whole(facts.get(f"{supply}/capacity")), discharging)
    return None


def _screen(facts: Mapping[str, str]) -> bool | None:
    wakefulness = _field(facts.get("dumpsys power", ""), "mWakefulness")
    return None if wakefulness is None else wakefulness == "Awake"


def _python(facts: Mapping[str, str]) -> dict[str, Any]:
    with suppress(ValueError):
        value = json.loads(facts.get("python", ""))
        if isinstance(value, dict) and isinstance(value.get("packages"), dict) and isinstance(value["python"], str):
            return value
    return {}
