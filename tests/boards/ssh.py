"""A stand-in for a Raspberry Pi: the arm64 sshd of Debian on an arm64 root, at a port of this machine."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pamc_devices.boardfiles import BOARDS, write_board_files
from pamc_devices.roots import make_root
from tests.boards.launch import Machine, Running, free_port, start
from tests.boards.roots import ARM64, SSH_SERVER

__all__ = ["DISKS", "SshBoard", "ssh_board"]

DISKS: Mapping[str, str] = {
    "/mnt/tiny": "size=1m",
    "/mnt/small": "size=4m",
    "/mnt/readonly": "ro",
    "/mnt/noexec": "size=64m,noexec",
}
"""Faulty disks of every board, by their folders: full after 1 and 4 MiB, not writable, noexec."""

_HOST = "pamc-board"
_USER = 1000
_SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/board_key
AuthorizedKeysFile /etc/ssh/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
PrintMotd no
MaxStartups 100
MaxSessions 100
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
SetEnv QEMU_CPU={cpu}
"""
_CLIENT = """\
Host {host} stranger changed silent
  HostName 127.0.0.1
  Port {port}
  User pi
  HostKeyAlias {host}
  IdentitiesOnly yes
  IdentityAgent none
  StrictHostKeyChecking yes
  GlobalKnownHostsFile /dev/null
  LogLevel ERROR
Host stranger
  IdentityFile {work}/other_key
  UserKnownHostsFile {work}/known_hosts
Host changed
  IdentityFile {work}/key
  UserKnownHostsFile {work}/wrong_hosts
Host {host} silent
  IdentityFile {work}/key
  UserKnownHostsFile {work}/known_hosts
"""


@dataclass(frozen=True, slots=True)
class SshBoard:
    """A board that runs. ``config`` is the ssh configuration that knows it; PAMC_SSH_CONFIG must name it.

    The configuration has two more names for the same board: ``stranger`` comes with a key that the board does not know,
    ``changed`` remembers another host key of it.
    """

    running: Running
    port: int
    config: Path
    url: str = f"ssh://{_HOST}"
    stranger: str = "ssh://stranger"
    changed: str = "ssh://changed"
    home: str = "/home/pi"

    def at(self, port: int) -> str:
        """Address of the board by another port, which forwards to its own."""
        return f"{self.url}:{port}"


def _key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()


def _skeleton(folder: Path, board: str, port: int, work: Path) -> None:
    """What this board alone has: its users, its keys, its server's settings, its processor."""
    write_board_files(BOARDS[board], folder)
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/bash\n"
        "sshd:x:101:65534::/run/sshd:/bin/false\n",
        "etc/group": "root:x:0:\npi:x:1000:\nnogroup:x:65534:\n",
        "etc/shadow": "root:*:19000:0:99999:7:::\npi:*:19000:0:99999:7:::\nsshd:!:19000::::::\n",
        "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
        "etc/hostname": f"{board}\n",
        "etc/ssh/sshd_config": _SETTINGS.format(port=port, cpu=BOARDS[board].cpu),
        "etc/ssh/authorized": (work / "key.pub").read_text(),
        # A login shell that is talkative, as those of users are.
        "home/pi/.bashrc": "echo 'Welcome to the board'\necho 'Battery: none' >&2\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    host_key = folder / "etc/ssh/board_key"
    public = _key(host_key)
    host_key.chmod(0o600)
    (work / "known_hosts").write_text(f"{_HOST} {public}")
    (work / "wrong_hosts").write_text(f"{_HOST} {(work / 'other_key.pub').read_text()}")
    for name in ("run/sshd", "root", "tmp", "var/tmp"):
        (folder / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (folder / name).chmod(0o1777)


def _greets(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(4) == b"SSH-"
    return False


@contextmanager
def ssh_board(work: Path, board: str = "rpi4", disk_mib: int = 1024) -> Iterator[SshBoard]:
    """Run a board with the files of ``board`` (rpi3, rpi4, rpi5) in the new folder ``work``."""
    work.mkdir(parents=True)
    layers = [make_root(SSH_SERVER), make_root(ARM64)]
    port = free_port()
    _key(work / "key")
    _key(work / "other_key")
    skeleton = work / "skeleton"
    _skeleton(skeleton, board, port, work)
    config = work / "ssh_config"
    config.write_text(_CLIENT.format(host=_HOST, port=port, work=work))
    machine = Machine(
        work=str(work),
        layers=[str(skeleton), *map(str, layers)],
        daemon=["/usr/sbin/sshd", "-D", "-e"],
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": BOARDS[board].cpu},
        user=_USER,
        owned=["/home/pi"],
        mounts=DISKS,
        disk_mib=disk_mib,
    )
    running = start(machine, lambda: _greets(port))
    try:
        yield SshBoard(running, port, config)
    finally:
        running.stop()
