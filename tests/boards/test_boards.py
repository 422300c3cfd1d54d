"""Boards are what they stand in for, and nothing of them is left however their process ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pamc_devices.find import opened
from pamc_devices.roots import make_root, qemu_program
from tests.boards.adb import AdbBoard
from tests.boards.machine import obstacle
from tests.boards.roots import ARMV7
from tests.boards.ssh import SshBoard

_CRASHING = """
import sys, time
from pathlib import Path
from tests.boards.ssh import ssh_board
with ssh_board(Path(sys.argv[1])) as board:
    print(board.port, flush=True)
    time.sleep(600)
"""


def test_the_pi_is_one(ssh_board: SshBoard) -> None:
    with opened(ssh_board.url) as device:
        told = device.run(
            ["sh", "-c", "uname -m; id -un; tr -d '\\0' </sys/firmware/devicetree/base/model; echo; nproc"]
        )
    machine, user, model, cores = told.stdout.decode().splitlines()
    assert (machine, user, model) == ("aarch64", "pi", "Raspberry Pi 4 Model B Rev 1.4")
    assert int(cores) >= 1
    assert "sshd" in " ".join(ssh_board.running.processes().values())


def test_the_phone_is_one(adb_board: AdbBoard) -> None:
    with opened(adb_board.url) as device:
        told = device.run(["sh", "-c", "uname -m; id -u; getprop ro.product.cpu.abi; echo $KSH_VERSION"])
    machine, user, abi, shell = told.stdout.decode().splitlines()
    assert (machine, user, abi) == ("aarch64", "2000", "arm64-v8a")
    assert "MIRBSD KSH" in shell
    assert "adbd" in " ".join(adb_board.running.processes().values())


@pytest.mark.parametrize("kind", ["ssh", "adb"])
def test_faulty_disks(kind: str, request: pytest.FixtureRequest) -> None:
    board: SshBoard | AdbBoard = request.getfixturevalue(f"{kind}_board")
    with opened(board.url) as device:
        script = "cd /mnt/$1 && head -c 2000000 /dev/zero >x; status=$?; rm -f x; exit $status"
        said = {name: device.run(["sh", "-c", script, "sh", name]) for name in ("tiny", "small", "readonly")}
        assert said["small"].status == 0
        assert said["tiny"].status and b"No space left" in said["tiny"].stderr
        assert said["readonly"].status and b"Read-only file system" in said["readonly"].stderr
        noexec = device.run(["sh", "-c", "cd /mnt/noexec && echo true >x && chmod +x x; ./x; s=$?; rm x; exit $s"])
        assert noexec.status == 126


def test_a_board_ends_with_the_process_that_started_it(boards: None, tmp_path: Path) -> None:
    work = tmp_path / "board"
    starter = subprocess.Popen([sys.executable, "-c", _CRASHING, str(work)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    port = int(starter.stdout.readline())
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            gone = probe.connect_ex(("127.0.0.1", port)) != 0
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        if gone and not any(os.fsencode(work) in line for line in lines):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the board outlived the process that started it")
    assert str(work) not in Path("/proc/mounts").read_text()


def test_a_32_bit_root_runs_programs(boards: None) -> None:
    root = make_root(ARMV7)
    said = subprocess.run(
        [qemu_program("arm"), "-L", root, root / "usr/bin/busybox", "uname", "-m"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "armv7l\n"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said = obstacle()
    assert said is not None and "make boards" in said and "qemu-user-static" in said
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = obstacle()
    assert said is not None and "root" in said
