"""The roots that boards run on, beside the one of `emulated://`."""

from __future__ import annotations

from pamc_devices.boardfiles import Board, Cluster
from pamc_devices.roots import ARM64, Root
from tests.boards.adbd import LIBRARIES

__all__ = ["ANDROID", "ARM64", "ARMV7", "PHONE", "SSH_SERVER"]

SSH_SERVER = Root("ssh-server", "arm64", ("openssh-server", "openssh-sftp-server"))
"""What a Raspberry Pi has beside ARM64; the two lie over each other."""
ANDROID = Root("android", "arm64", (*LIBRARIES, "busybox-static", "mksh", "toybox"))
"""Android's shell and its commands, and the libraries of adbd. Its C library is glibc and not bionic."""
ARMV7 = Root("armv7", "armhf", ("libc6", "libgcc-s1", "libstdc++6", "busybox-static"))
"""A 32-bit root for `qemu-arm -L`."""

_LITTLE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
PHONE = Board(
    "Pamc Phone",
    ("pamc,phone",),
    "cortex-a76",
    "000000",
    (
        Cluster(6, 0xD05, 0, 576_000, 1_766_400, _LITTLE, capacity=414),
        Cluster(2, 0xD0B, 1, 768_000, 2_208_000, _LITTLE, capacity=1024),
    ),
)
"""A phone of no maker, with little and big cores."""
