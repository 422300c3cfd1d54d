"""What this machine must have so that boards can stand in on it, and how it gets it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["PROGRAMS", "install", "obstacle"]

PROGRAMS = {
    "adb": "adb",
    "clang": "clang",
    "dpkg-source": "dpkg-dev",
    "ld.lld": "lld",
    "patch": "patch",
    "qemu-aarch64": "qemu-user",
    "qemu-aarch64-static": "qemu-user-static",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
"""The programs that boards and their set-up call, and the Debian packages that have them."""


def _missing() -> list[str]:
    return sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})


def obstacle() -> str | None:
    """Why no board can be started here, with the cure; None when nothing stands against it."""
    if sys.platform != "linux":
        return "boards stand in on Linux only"
    if os.geteuid() != 0:
        return (
            "boards need the rights of root for mounts and chroot: run the tests as root, in a container for instance"
        )
    if missing := _missing():
        return f"programs for boards are missing: make boards, or apt-get install {' '.join(missing)}"
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if probe.returncode:
        return "this container may not mount: start it with --privileged, or with the capability SYS_ADMIN"
    if "binfmt_misc" not in Path("/proc/filesystems").read_text() and not Path("/proc/sys/fs/binfmt_misc").exists():
        return "the kernel cannot start programs of another architecture: modprobe binfmt_misc"
    return None


def install(say: Callable[[str], None]) -> None:
    """Install the missing programs by apt-get, as root. Does nothing when all are there.

    Raises RuntimeError with apt's words.
    """
    missing = _missing()
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    say(f"installing {', '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "-qq", *command], capture_output=True, text=True, errors="replace", env=quiet, check=False
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {command[0]} failed:\n{done.stderr[-2000:]}")
