"""The runners are what their devices can load, checked on the files: most of those devices are not here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pamc_devices.folders import cache_folder
from pamc_devices.runner import PLATFORMS, build_runner, find_runner, platform_of
from pamc_devices.runner.compile import sources
from pamc_devices.states import WrongArchitectureError
from tests.runner import elf
from tests.runner.elf import read_elf

MACHINES = {"linux-aarch64": 183, "linux-armv7": 40, "linux-x86_64": 62, "android-arm64": 183}
ET_DYN, DF_1_PIE, EXECUTABLE = 3, 0x08000000, 1


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_runner_is_position_independent_and_hardened(name: str, builds: Mapping[str, Path]) -> None:
    found = read_elf(builds[name])
    dynamic = dict(found.dynamic)
    assert found.machine == MACHINES[name]
    assert found.kind == ET_DYN and dynamic[elf.DT_FLAGS_1] & DF_1_PIE
    assert elf.DT_TEXTREL not in dynamic and not dynamic.get(elf.DT_FLAGS, 0) & 4
    assert found.all(elf.PT_GNU_RELRO)
    assert not any(stack.flags & EXECUTABLE for stack in found.all(elf.PT_GNU_STACK))
    for segment in found.all(elf.PT_LOAD):
        assert segment.flags & 3 != 3, "a segment is writable and executable"
        assert (segment.address - segment.offset) % segment.align == 0


@pytest.mark.parametrize("name", [name for name, platform in PLATFORMS.items() if platform.libc == "glibc"])
def test_glibc_2_28_is_enough(name: str, builds: Mapping[str, Path]) -> None:
    found = read_elf(builds[name])
    # Of ld.so it takes nothing but what old compilers of 32-bit Arm ask for.
    assert {library for library in found.needed if not library.startswith("ld-linux")} <= {"libc.so.6", "libdl.so.2"}
    asked = {tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in found.versions}
    assert asked and max(asked) <= (2, 28)


def test_android_finds_all_that_its_runner_asks_for(builds: Mapping[str, Path]) -> None:
    found = read_elf(builds["android-arm64"])
    lines = (sources() / "android" / "bionic.txt").read_text().splitlines()
    allowed = {line.split()[1] for line in lines if not line.startswith("#")}
    assert found.interpreter == "/system/bin/linker64"
    assert found.needed == ("libc.so", "libdl.so")
    assert found.versions == frozenset()
    assert "__libc_init" in found.undefined and "dlopen" in found.undefined
    assert found.undefined <= allowed


def test_android_with_pages_of_16_kib_can_load_its_runner(builds: Mapping[str, Path]) -> None:
    found = read_elf(builds["android-arm64"])
    for segment in found.all(elf.PT_LOAD):
        assert segment.align >= 16384
    (relro,) = found.all(elf.PT_GNU_RELRO)
    # What is made read-only after loading must not share a page with what is written later.
    later = [it.address for it in found.all(elf.PT_LOAD) if it.flags & 2 and it.address > relro.address]
    assert all(address // 16384 > (relro.address + relro.size - 1) // 16384 for address in later)


def test_the_same_sources_give_the_same_bytes(builds: Mapping[str, Path], tmp_path: Path) -> None:
    for name in ("android-arm64", "linux-armv7"):
        again = build_runner(PLATFORMS[name], tmp_path / name)
        assert again.read_bytes() == builds[name].read_bytes()


def test_a_program_names_no_path_of_this_machine(builds: Mapping[str, Path]) -> None:
    for path in builds.values():
        content = path.read_bytes()
        assert str(sources()).encode() not in content
        assert b".c\0" not in content


def test_devices_find_their_platform() -> None:
    assert platform_of("aarch64", "glibc").name == "linux-aarch64"
    assert platform_of("armv7l", "glibc").name == "linux-armv7"
    assert platform_of("aarch64", "bionic").name == "android-arm64"
    for abi, libc in (("aarch64", "musl"), ("riscv64", "glibc"), (None, None)):
        with pytest.raises(WrongArchitectureError, match="no runner"):
            platform_of(abi, libc)


def test_a_runner_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, builds: Mapping[str, Path]) -> None:
    # The C library that zig made for the other builds is not made again.
    (tmp_path / "zig").symlink_to(cache_folder() / "zig")
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path))
    said: list[str] = []
    first = find_runner("aarch64", "glibc", said.append)
    assert find_runner("aarch64", "glibc", said.append) == first
    assert len(said) == 1 and first.stat().st_mode & 0o111
    assert first.read_bytes() == builds["linux-aarch64"].read_bytes()
