"""A stand-in for an Android phone: Android's own adbd on an arm64 root, and an adb server for it alone."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pamc_devices.boardfiles import write_board_files
from pamc_devices.deployment import Program
from pamc_devices.info import DeviceInfo
from pamc_devices.programs import program_for
from pamc_devices.roots import make_root
from tests.boards.adbd import build_adbd
from tests.boards.launch import Machine, Running, free_port, start, tied
from tests.boards.roots import ANDROID, PHONE
from tests.boards.ssh import DISKS

__all__ = ["AdbBoard", "adb_board", "adb_server", "program_over_glibc"]

_USER = 2000
_PROPERTIES = {
    "ro.build.version.release": "10",
    "ro.build.version.sdk": "29",
    "ro.board.platform": "qemu",
    "ro.hardware": "qemu",
    "ro.product.board": "pamc",
    "ro.product.brand": "pamc",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a",
    "ro.product.device": "pamc",
    "ro.product.manufacturer": "pamc",
    "ro.product.model": "Phone-Emu",
    "ro.product.name": "pamc_emu",
    "ro.soc.model": "none",
}
_GETPROP = """\
#!/system/bin/sh
while IFS='=' read -r key value; do
  if [ -z "$1" ]; then echo "[$key]: [$value]"; elif [ "$key" = "$1" ]; then echo "$value"; exit 0; fi
done </system/build.prop
[ -z "$1" ] || echo "$2"
"""
# Of what Android's own set of commands lacks in Debian's build of it.
_FROM_BUSYBOX = ("ps", "top", "tar", "gzip", "gunzip", "awk", "tr", "less", "ip", "sh")


@dataclass(frozen=True, slots=True)
class AdbBoard:
    """A phone that runs. adb must be called with the variable ANDROID_ADB_SERVER_PORT of ``server``."""

    running: Running
    port: int
    server: int
    home: str = "/data/local/tmp"

    @property
    def url(self) -> str:
        """Its address."""
        return self.at(self.port)

    def at(self, port: int) -> str:
        """Address of the phone by another port, which forwards to its own."""
        return f"adb://127.0.0.1:{port}"

    def adb(self, *arguments: str) -> str:
        """Call adb with the server of this phone; what it says."""
        environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(self.server)}
        done = subprocess.run(
            ["adb", *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        return done.stdout + done.stderr

    def forget(self) -> None:
        """Take the phone off the server's list."""
        self.adb("disconnect")


def program_over_glibc(info: DeviceInfo, runtime: str) -> Program:
    """`program_for` of a Linux board: the stand-in for a phone has Android's daemon and tools, but over glibc."""
    return program_for(replace(info, libc="glibc", libc_version=None), runtime)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@contextmanager
def adb_server(work: Path) -> Iterator[int]:
    """Run an adb server with a key of its own, in the new folder ``work``; the port at which it listens."""
    work.mkdir(parents=True)
    port = free_port()
    environment = {"HOME": str(work), "PATH": os.environ["PATH"], "ADB_MDNS": "0", "TMPDIR": str(work)}
    server = tied(["adb", "-P", str(port), "nodaemon", "server"], work / "log", environment)
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise RuntimeError(f"the adb server does not start:\n{(work / 'log').read_text()[-2000:]}")
        yield port
    finally:
        server.kill()
        server.wait()


def _skeleton(folder: Path, port: int, adbd: Path, base: Path, keys: str | None) -> None:
    write_board_files(PHONE, folder)
    programs = folder / "system" / "bin"
    programs.mkdir(parents=True)
    (programs / "sh").symlink_to("/usr/bin/mksh")
    listing = subprocess.run(
        ["qemu-aarch64-static", "-L", base, base / "usr/bin/toybox", "--long"],
        capture_output=True,
        text=True,
        check=True,
    )
    for path in listing.stdout.split():
        link = programs / Path(path).name
        if not link.is_symlink():
            link.symlink_to("/usr/bin/toybox")
    for name in _FROM_BUSYBOX:
        if not (programs / name).is_symlink():
            (programs / name).symlink_to("/usr/bin/busybox")
    properties = {
        **_PROPERTIES,
        "ro.adb.secure": "0" if keys is None else "1",
        "service.adb.listen_addrs": f"tcp:localhost:{port}",
    }
    files = {
        "system/build.prop": "".join(f"{key}={value}\n" for key, value in properties.items()),
        "system/bin/getprop": _GETPROP,
        "etc/passwd": "root:x:0:0::/:/system/bin/sh\nshell:x:2000:2000::/data/local/tmp:/system/bin/sh\n",
        "etc/group": "root:x:0:\nshell:x:2000:\n",
        "adb_keys": keys or "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (programs / "getprop").chmod(0o755)
    for name in ("bin", "sbin"):
        (folder / name).symlink_to("system/bin")
    (programs / "adbd").write_bytes(adbd.read_bytes())
    (programs / "adbd").chmod(0o755)
    (folder / "data" / "local" / "tmp").mkdir(parents=True)


@contextmanager
def adb_board(work: Path, server: int, keys: str | None = None, disk_mib: int = 1024) -> Iterator[AdbBoard]:
    """Run a phone in the new folder ``work``, to be used by the adb server at the port ``server``.

    With ``keys`` (the text of adb's public keys, may be empty) it accepts only those.
    """
    work.mkdir(parents=True)
    base = make_root(ANDROID)
    port = free_port()
    skeleton = work / "skeleton"
    _skeleton(skeleton, port, build_adbd(print), base, keys)
    machine = Machine(
        work=str(work),
        layers=[str(skeleton), str(base)],
        daemon=["/system/bin/adbd"],
        environment={
            "PATH": "/system/bin",
            "ANDROID_DATA": "/data",
            "ANDROID_ROOT": "/system",
            "HOME": "/data/local/tmp",
            "QEMU_CPU": PHONE.cpu,
        },
        user=_USER,
        owned=["/data/local/tmp"],
        mounts=DISKS,
        chroot=[f"--userspec={_USER}:{_USER}"],
        disk_mib=disk_mib,
    )
    running = start(machine, lambda: _answers(port))
    board = AdbBoard(running, port, server)
    try:
        yield board
    finally:
        board.forget()
        running.stop()
