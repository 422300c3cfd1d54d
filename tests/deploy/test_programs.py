"""Which runner a device gets, and what is said where it can have none."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pamc.errors import DeviceError
from pamc_devices import programs
from pamc_devices.find import opened
from pamc_devices.info import DeviceInfo, Storage
from pamc_devices.probe import probe
from pamc_devices.programs import choose_program, program_for
from pamc_devices.states import MissingRuntimeError, WrongArchitectureError

PI = DeviceInfo(
    url="ssh://pi@board",
    emulated=False,
    model="Raspberry Pi 4",
    soc=None,
    system="Debian",
    kernel="6.1",
    machine="aarch64",
    abi="aarch64",
    libc="glibc",
    libc_version="2.36",
    cores=(),
    memory_mib=4096,
    free_memory_mib=2048,
    load=0.0,
    storage=Storage("/home/pi"),
    python="3.11.2",
    packages={"numpy": "2.4.6", "ai-edge-litert": "2.3.0"},
)
PHONE = replace(PI, url="adb://1", libc="bionic", libc_version="34", python=None, packages={})
HERE = replace(PI, url="local", python=None, packages={}, abi="riscv64")


def test_litert_runs_in_the_python_of_the_device() -> None:
    program = program_for(PI, "litert")
    assert program.command == ("python3", "program/pamc_run.py")
    assert program.options == ("--runtime", "litert")
    assert list(program.files) == ["pamc_run.py"]
    older = replace(PI, packages={"numpy": "1.26", "tflite-runtime": "2.14.0"})
    assert program_for(older, "litert") == program


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_this_machine_uses_the_python_of_pamc(runtime: str) -> None:
    program = program_for(HERE, runtime)
    assert program.command == (sys.executable, "program/pamc_run.py")
    assert program.options == ("--runtime", runtime)


@pytest.mark.parametrize(
    ("info", "runtime", "kind", "message"),
    [
        (replace(PI, packages={}), "litert", MissingRuntimeError, "pip install numpy ai-edge-litert"),
        (replace(PI, packages={"numpy": "2"}), "litert", MissingRuntimeError, "lacks ai-edge-litert"),
        (replace(PI, python="3.8.10"), "litert", MissingRuntimeError, "no Python 3.9 or later"),
        (replace(PI, python=None), "litert", MissingRuntimeError, "install python3"),
        (PHONE, "litert", MissingRuntimeError, "use --runtime onnxruntime"),
        (replace(PI, libc_version="2.27"), "onnxruntime", MissingRuntimeError, r"glibc 2\.27, should be 2\.28"),
        (replace(PI, libc="musl"), "onnxruntime", WrongArchitectureError, "aarch64 with musl"),
        (replace(PI, abi="riscv64"), "onnxruntime", WrongArchitectureError, "riscv64 with glibc"),
        (replace(PHONE, abi="armv7l"), "onnxruntime", WrongArchitectureError, "armv7l with bionic"),
        (replace(PI, abi="armv7l"), "onnxruntime", MissingRuntimeError, "no library for linux-armv7"),
    ],
)
def test_a_device_without_a_runtime_is_told_why(
    info: DeviceInfo, runtime: str, kind: type[DeviceError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        program_for(info, runtime)
    assert caught.value.cure


def test_the_next_runtime_is_taken_where_the_first_cannot_be_had() -> None:
    old = replace(PI, abi="armv7l")
    assert choose_program(old, ["onnxruntime", "litert"]).runtime == "litert"
    with pytest.raises(MissingRuntimeError, match="no library for linux-armv7"):
        choose_program(replace(old, packages={}), ["onnxruntime", "litert"])


def test_onnxruntime_in_python_where_there_is_no_runner_for_it() -> None:
    info = replace(PI, libc="musl", packages={"numpy": "2", "onnxruntime": "1.20"})
    assert program_for(info, "onnxruntime").options == ("--runtime", "onnxruntime")


def test_a_board_gets_the_runner_and_the_library_of_its_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Only the download and the compiler are replaced; tests/runner has those.
    asked: list[object] = []
    monkeypatch.setattr(programs, "fetch_onnxruntime", lambda platform, say: asked.append(platform.name) or tmp_path)
    monkeypatch.setattr(programs, "find_runner", lambda abi, libc, say: asked.append((abi, libc)) or tmp_path)
    program = program_for(PHONE, "onnxruntime")
    assert asked == ["android-arm64", ("aarch64", "bionic")]
    assert set(program.files) == {"pamc-runner", "libonnxruntime.so"}
    assert (program.command, program.options) == (("program/pamc-runner",), ())


def test_this_machine_tells_enough(tmp_path: Path) -> None:
    with opened(f"local://{tmp_path}") as device:
        assert program_for(probe(device), "onnxruntime").command[0] == sys.executable
