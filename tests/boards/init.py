"""The first process of a board: mounts its disk and devices, starts its daemon and collects its orphans.

Runs as root in a mount and a process namespace of its own, so all that it mounts and starts ends with it. Called with
the path of a JSON file: see `tests.boards.launch.Machine`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_NODES = ("full", "null", "random", "tty", "urandom", "zero")


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _register() -> None:
    """Have the kernel start arm64 programs by QEMU, also in a chroot, where nothing else of the machine did it."""
    if not (_BINFMT / "register").exists():
        _mount("-t", "binfmt_misc", "binfmt_misc", _BINFMT)
    entry = _BINFMT / "qemu-aarch64"
    if not entry.exists():
        # The kernel reads the escapes of this line itself.
        rule = Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_bytes().strip()
        # Another board may be quicker.
        with suppress(FileExistsError):
            (_BINFMT / "register").write_bytes(rule)
    flags = next((line for line in entry.read_text().splitlines() if line.startswith("flags:")), "")
    if "F" not in flags:
        sys.exit(
            "qemu-aarch64 is registered without the flag F, so it is not found in a chroot: reinstall qemu-user-static"
        )


def _disk(spec: dict[str, object]) -> Path:
    """The board's root: the layers, read-only, below a disk of limited size that ends with the board."""
    work = Path(str(spec["work"]))
    disk = work / "disk"
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={spec['disk_mib']}m,mode=755", "board", disk)
    root = disk / "root"
    for name in ("upper", "work", "root"):
        (disk / name).mkdir()
    layers = ":".join(map(str, spec["layers"]))  # type: ignore[call-overload]
    _mount("-t", "overlay", "-o", f"lowerdir={layers},upperdir={disk / 'upper'},workdir={disk / 'work'}", "board", root)
    return root


def _devices(root: Path) -> None:
    (root / "proc").mkdir(exist_ok=True)
    board = (root / "proc" / "cpuinfo").read_text()
    cpuinfo = root.parent / "cpuinfo"
    cpuinfo.write_text(board)
    _mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", root / "proc")
    _mount("--bind", cpuinfo, root / "proc" / "cpuinfo")
    (root / "dev" / "pts").mkdir(parents=True, exist_ok=True)
    for name in _NODES:
        (root / "dev" / name).touch()
        _mount("--bind", f"/dev/{name}", root / "dev" / name)
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", root / "dev" / "pts")
    (root / "dev" / "ptmx").symlink_to("pts/ptmx")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(target)


def main(path: str) -> None:
    spec = json.loads(Path(path).read_text())
    os.umask(0o022)
    _register()
    root = _disk(spec)
    _devices(root)
    owner = f"uid={spec['user']},gid={spec['user']}"
    for name, options in spec["mounts"].items():
        folder = root / name.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"{owner},{options}", "board", folder)
    for name in spec["owned"]:
        subprocess.run(["chown", "-R", f"{spec['user']}:{spec['user']}", root / name.lstrip("/")], check=True)
    chroot = shutil.which("chroot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    daemon = subprocess.Popen(
        [chroot, *spec["chroot"], root, *spec["daemon"]], env=spec["environment"], cwd="/", stdin=subprocess.DEVNULL
    )
    while True:
        ended, status = os.wait()
        if ended == daemon.pid:
            sys.exit(f"the board's daemon ended with status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(sys.argv[1])
