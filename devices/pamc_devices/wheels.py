"""Python packages for a root's interpreter, of pinned versions and contents, unpacked and not installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc_devices.states import CommandError

__all__ = ["ARM64_WHEELS", "ONNXRUNTIME_ARM64", "PYTHON", "Wheel", "download_command", "unpack_wheels"]

PYTHON = "3.11"
"""The Python of the Debian release that roots are made of."""
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel, by the sha256 of its file."""

    name: str
    version: str
    sha256: str


ONNXRUNTIME_ARM64 = Wheel("onnxruntime", "1.31.1", "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3")
ARM64_WHEELS = (
    Wheel("numpy", "2.4.6", "0ab0a9c4ffb1a6d95ef519fe4247dba8eb6b18ad93999f76b7f657039acabd47"),
    ONNXRUNTIME_ARM64,
    Wheel("ai-edge-litert", "2.3.0", "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae"),
)
"""What the Python runner needs on 64-bit Arm, for both runtimes."""


def download_command(wheels: Sequence[Wheel], platforms: Sequence[str], folder: Path) -> list[str]:
    """The command by which pip brings ``wheels`` for ``platforms`` into ``folder``, where it writes a list of them."""
    wanted = folder / "wanted.txt"
    wanted.write_text("".join(f"{it.name}=={it.version} --hash=sha256:{it.sha256}\n" for it in wheels))
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    command += [word for platform in platforms for word in ("--platform", platform)]
    return [*command, "--require-hashes", "--requirement", str(wanted), "--dest", str(folder)]


def unpack_wheels(wheels: Sequence[Wheel], site: Path) -> None:
    """Download ``wheels`` with pip and unpack them to the folder ``site``."""
    with TemporaryDirectory(prefix="pamc-wheels-") as folder:
        command = download_command(wheels, _PLATFORMS, Path(folder))
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise CommandError(
                "the Python packages for 64-bit Arm cannot be downloaded",
                why=done.stderr.strip()[-500:] or None,
                cure="look at the network connection and at pip's settings; then try again",
            )
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
