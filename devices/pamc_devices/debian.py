"""Debian packages of any architecture, downloaded with apt's own checks of signatures and unpacked; none is installed.

apt runs in a folder of its own, with its own lists and its own empty package status, so it needs no privilege and
changes nothing of the machine's. Nothing that a package holds is executed: maintainer scripts do not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pamc_devices.states import AbsentError, CommandError

__all__ = ["ARCHIVE_VARIABLE", "SUITE", "Apt", "debian_archive"]

SUITE = "bookworm"
"""The Debian release that roots are made of: Python 3.11, glibc 2.36."""
ARCHIVE_VARIABLE = "PAMC_DEBIAN_ARCHIVE"

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MERGED = ("bin", "sbin", "lib")
_DOWNLOAD_SECONDS = 900.0


def debian_archive() -> str:
    """Address of a Debian archive: the variable ``PAMC_DEBIAN_ARCHIVE``, else the one that apt uses here."""
    if chosen := os.environ.get(ARCHIVE_VARIABLE):
        return chosen
    listing = ""
    if apt := shutil.which("apt-get"):
        command = [apt, "indextargets", "--format", "$(REPO_URI) $(LABEL) $(RELEASE)", "Created-By: Packages"]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():
        address, label, *rest = line.split()
        # Before the first `apt-get update` the label is not known and its place stays empty.
        plain = not rest and "-" not in label
        if (label == "Debian" and "-" not in rest[-1]) or (plain and "debian" in address):
            return address
    raise AbsentError(
        "no Debian archive is known from which arm64 programs could be unpacked",
        why=f"this machine's apt does not use one and {ARCHIVE_VARIABLE} is not set",
        cure=f"set {ARCHIVE_VARIABLE} to the address of a Debian archive that has {SUITE}",
    )


def _extract(archive: Path, root: Path) -> None:
    # `dpkg-deb --extract` would replace the links of a merged /usr by folders.
    read: list[str | Path] = [_program("dpkg-deb"), "--fsys-tarfile", archive]
    write: list[str | Path] = [
        _program("tar"),
        "--extract",
        "--keep-directory-symlink",
        "--no-same-owner",
        "--directory",
        root,
    ]
    with subprocess.Popen(read, stdout=subprocess.PIPE) as reading:
        writing = subprocess.run(write, stdin=reading.stdout, capture_output=True, text=True, check=False)
    if writing.returncode or reading.returncode:
        raise CommandError(
            f"{archive.name} cannot be unpacked to {root}",
            why=writing.stderr.strip()[-300:] or None,
            cure="look at the free disk space; then try again",
        )


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise AbsentError(
            f"{name} is not on this machine, and arm64 roots are made of Debian packages",
            cure="use a machine with Debian or a system made from it",
        )
    return found


@dataclass(frozen=True, slots=True)
class Apt:
    """apt with its state in ``folder``, for packages of ``architecture`` (Debian's name: arm64, armhf)."""

    folder: Path
    architecture: str

    def _run(self, *arguments: str, cwd: Path | None = None) -> str:
        state = self.folder / "apt"
        options = {
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Debug::NoLocking": "true",
            "Dir::Cache": str(state / "cache"),
            "Dir::Etc::SourceList": str(state / "sources.list"),
            "Dir::Etc::SourceParts": "-",
            "Dir::Log": str(state),
            "Dir::State": str(state / "state"),
            "Dir::State::Lists": str(state / "lists"),
            "Dir::State::Status": str(state / "status"),
        }
        listed = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        command = [_program("apt-get"), "-qq", "--yes", *listed, *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_DOWNLOAD_SECONDS,
                cwd=cwd,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(
                f"apt-get {arguments[0]} did not end within {_DOWNLOAD_SECONDS:.0f} s",
                cure="look at the network connection",
            ) from error
        if done.returncode:
            raise CommandError(
                f"apt-get {arguments[0]} failed for Debian {SUITE} {self.architecture}",
                why=done.stderr.strip()[-500:] or None,
                cure="look at the network connection and at the free disk space; then try again",
            )
        return done.stdout

    def update(self) -> None:
        """Fetch the lists of packages and sources, checked by Debian's signature."""
        state = self.folder / "apt"
        for name in ("cache/archives/partial", "lists/partial", "state"):
            (state / name).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        if not _KEYRING.is_file():
            raise AbsentError(
                "Debian's keys are not on this machine, so nothing from its archive can be trusted",
                cure="apt-get install debian-archive-keyring",
            )
        source = f"[signed-by={_KEYRING}] {debian_archive()} {SUITE} main\n"
        (state / "sources.list").write_text(f"deb {source}deb-src {source}")
        self._run("update")

    def unpack(self, packages: Sequence[str], root: Path) -> None:
        """Unpack ``packages`` and all that they depend on to the new folder ``root``, /bin, /lib and /sbin merged."""
        self._run("install", "--download-only", "--no-install-recommends", *packages)
        root.mkdir(parents=True)
        for name in _MERGED:
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        archives = self.folder / "apt" / "cache" / "archives"
        for archive in sorted(archives.glob("*.deb")):
            _extract(archive, root)
            archive.unlink()

    def source(self, package: str, folder: Path) -> None:
        """Download the files of the source package ``package`` (``name=version``) to the new folder ``folder``."""
        folder.mkdir(parents=True)
        self._run("source", "--download-only", package, cwd=folder)
