"""`emulated://`: arm64 programs on this machine, without a privilege."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pamc.errors import ConfigError
from pamc_devices.boardfiles import BOARDS
from pamc_devices.emulated import EmulatedDevice
from pamc_devices.failures import failure
from pamc_devices.find import list_devices, open_device, opened
from pamc_devices.probe import probe
from pamc_devices.roots import qemu_program
from pamc_devices.states import MissingRuntimeError, TimedOutError, WrongArchitectureError


@pytest.fixture(autouse=True)
def qemu() -> None:
    """Skip without QEMU; fail instead where the variable CI is set."""
    if shutil.which("qemu-aarch64-static") is None:
        reason = "qemu-aarch64-static is missing: make boards, or apt-get install qemu-user-static qemu-user"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EmulatedDevice]:
    """An emulated Raspberry Pi 4 with an own folder."""
    with opened(f"emulated://rpi4{tmp_path / 'its home'}") as found:
        assert isinstance(found, EmulatedDevice)
        yield found


@pytest.mark.parametrize(
    ("name", "part", "dot"), [("rpi3", "0xd03", False), ("rpi4", "0xd08", False), ("rpi5", "0xd0b", True)]
)
def test_programs_see_the_board(name: str, part: str, dot: bool, tmp_path: Path) -> None:
    with opened(f"emulated://{name}{tmp_path}") as device:
        assert device.emulated
        told = device.run(["sh", "-c", "uname -m; grep -c processor /proc/cpuinfo; cat /proc/cpuinfo"]).stdout.decode()
    machine, cores, *cpuinfo = told.splitlines()
    assert (machine, cores) == ("aarch64", "4")
    assert f"CPU part\t: {part}" in cpuinfo
    assert cpuinfo[-1] == f"Model\t\t: {BOARDS[name].model}"
    assert any(line.startswith("Features") and "asimddp" in line.split() for line in cpuinfo) == dot


def test_probing_tells_the_board(device: EmulatedDevice) -> None:
    info = probe(device)
    assert (info.model, info.abi, info.libc) == (BOARDS["rpi4"].model, "aarch64", "glibc")
    assert info.emulated and len(info.cores) == 4 and info.temperatures


def test_commands_start_each_other(device: EmulatedDevice) -> None:
    result = device.run(["sh", "-c", 'cat | wc -c; exec env sh -c "uname -m; exit 7"'], stdin=b"12345")
    assert (result.status, result.stdout.split()) == (7, [b"5", b"aarch64"])


def test_pushed_programs_run(device: EmulatedDevice, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/usr/bin/env sh\necho $1; uname -m\n")
    script.chmod(0o755)
    with device.tmpdir() as folder:
        device.push(script, f"{folder}/script")
        assert device.run([f"{folder}/script", "a  b"]).stdout == b"a b\naarch64\n"
        device.push(device.root / "usr/bin/basename", f"{folder}/program")
        assert device.run([f"{folder}/program", "/x/y z"]).stdout == b"y z\n"
    assert device.run(["ls", device.home()]).stdout == b""


def test_a_program_for_another_processor_is_refused(device: EmulatedDevice, tmp_path: Path) -> None:
    for number, start in enumerate((Path("/bin/true").read_bytes(), b"\x7fELF" + struct.pack("<12xHHI", 2, 0x7FFE, 1))):
        program = tmp_path / str(number)
        program.write_bytes(start + bytes(200))
        program.chmod(0o755)
        result = device.run([str(program)])
        assert isinstance(failure([str(program)], result, device.url), WrongArchitectureError), result


def test_what_is_not_there(device: EmulatedDevice, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    assert device.run(["no-such-program"]).status == 127
    assert device.run([str(tmp_path / "none")]).status == 127
    assert device.run([str(tmp_path / "text")]).status == 126


def test_this_machines_python_settings_stay_outside(device: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    told = device.run(
        ["python3", "-c", "import sys, os; print('/nowhere' in sys.path, os.environ['A'])"], env={"A": "x,y z"}
    )
    assert told.stdout == b"False x,y z\n"
    assert device.run(["sh", "-c", "echo $PYTHONPATH"], env={"PYTHONPATH": "/mine"}).stdout == b"/mine\n"


@pytest.mark.slow  # a second at rest; ONNX Runtime and LiteRT are loaded by an emulated Python
def test_both_runtimes_load(device: EmulatedDevice) -> None:
    code = (
        "import onnxruntime, ai_edge_litert.interpreter, platform; print(platform.machine(), onnxruntime.__version__)"
    )
    told = device.run(["python3", "-c", code], timeout=300)
    assert told.status == 0, told.stderr
    assert told.stdout.startswith(b"aarch64 1.")


def test_a_hung_program_is_stopped_with_its_children(device: EmulatedDevice) -> None:
    with pytest.raises(TimedOutError):
        device.run(["sh", "-c", "sleep 6543.21 & sleep 6543.21"], timeout=1)
    deadline = time.monotonic() + 5
    while any(b"6543.21" in line for line in _command_lines()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def test_options_of_qemu(device: EmulatedDevice) -> None:
    assert Path(device.prefix()[0]).name == "qemu-aarch64-static"
    assert Path(device.prefix(("-one-insn-per-tb",))[0]).name == "qemu-aarch64"
    result = device.run(["sh", "-c", "exit 3"], options=("-strace",))
    assert result.status == 3 and b"exit_group(3)" in result.stderr


def test_addresses() -> None:
    for wrong, cure in (("emulated://rpi44", "rpi4"), ("emulated://pi@rpi4", "emulated://rpi4"), ("emulated", "rpi3")):
        with pytest.raises(ConfigError) as caught:
            open_device(wrong)
        assert cure in str(caught.value)
    assert {f"emulated://{name}" for name in BOARDS} <= {found.url for found in list_devices()}


def test_without_qemu(device: EmulatedDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for plugins, package in ((False, "qemu-user-static"), (True, "qemu-user")):
        with pytest.raises(MissingRuntimeError) as caught:
            qemu_program("aarch64", plugins=plugins)
        assert caught.value.cure == f"sudo apt-get install {package}"
