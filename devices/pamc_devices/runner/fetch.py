"""ONNX Runtime's shared library for a device, from packages whose contents are pinned.

For Linux it is a part of the wheel on PyPI. For Android it is in the archive that Microsoft publishes (AAR), which a
package on npm carries; that archive also has the Java classes.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from pamc_devices.folders import made_once
from pamc_devices.runner.platforms import Platform
from pamc_devices.states import DamagedError, MissingRuntimeError
from pamc_devices.wheels import ONNXRUNTIME_ARM64, Wheel, download_command

__all__ = ["ANDROID", "LIBRARY", "WHEELS", "NpmArchive", "WheelPart", "fetch_android", "fetch_onnxruntime"]

LIBRARY = "libonnxruntime.so"
_SECONDS = 900
_CHUNK = 1 << 20
_OFFLINE = "connect this machine to the network once; later runs take the library from pamc's cache"


@dataclass(frozen=True, slots=True)
class WheelPart:
    """The library in a ``wheel`` of onnxruntime for the platforms ``tags``: its file ``member``."""

    wheel: Wheel
    tags: tuple[str, ...]
    member: str


@dataclass(frozen=True, slots=True)
class NpmArchive:
    """The archive ``member`` in the npm package ``name``; ``sha256`` is the archive's, ``version`` the package's."""

    name: str
    version: str
    member: str
    sha256: str
    onnxruntime: str


WHEELS = {
    "linux-aarch64": WheelPart(
        ONNXRUNTIME_ARM64,
        ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64"),
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
    ),
    "linux-x86_64": WheelPart(
        Wheel("onnxruntime", "1.31.1", "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f"),
        ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64"),
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
    ),
}
"""By platform. There is no wheel for armv7."""

ANDROID = NpmArchive(
    "com.github.asus4.onnxruntime",
    "0.4.9",
    "package/Plugins/Android/onnxruntime.aar",
    "98cddbac92640b4a6af72a03c42e0491851f366d3da66bbaeb5dd66310946cf2",
    "1.29.0",
)
"""Microsoft's archive as a third party packs it, so its contents are pinned, not the package."""


def _download(command: list[str], what: str, folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MissingRuntimeError(f"{what} cannot be downloaded", why="it takes too long", cure=_OFFLINE) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        raise MissingRuntimeError(f"{what} cannot be downloaded", why=said or None, cure=_OFFLINE)


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DamagedError(
            f"{path.name} is not the file that pamc knows",
            why=f"its sha256 is {found}, should be {sha256}",
            cure="try again; if it stays so, do not use that package",
        )


def _keep(source: IO[bytes] | None, target: Path) -> None:
    if source is None:
        raise DamagedError(f"a package lacks {target.name}", cure="report this")
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)


def _from_wheel(part: WheelPart, folder: Path) -> None:
    with TemporaryDirectory(prefix="pamc-onnxruntime-") as name:
        place = Path(name)
        command = download_command((part.wheel,), part.tags, place)
        _download(command, f"ONNX Runtime {part.wheel.version} for the device", place)
        (wheel,) = place.glob("*.whl")
        _check(wheel, part.wheel.sha256)
        with zipfile.ZipFile(wheel) as archive:
            _keep(archive.open(part.member), folder / LIBRARY)


def fetch_android(say: Callable[[str], None] = lambda text: None) -> Path:
    """ONNX Runtime's archive for Android (AAR), from pamc's cache; the first time npm downloads it.

    ``say`` is told before that. Raises MissingRuntimeError when npm is missing or fails, DamagedError for other
    contents than the pinned ones.
    """

    def make(folder: Path) -> None:
        npm = shutil.which("npm")
        what = f"ONNX Runtime {ANDROID.onnxruntime} for Android"
        if npm is None:
            raise MissingRuntimeError(
                f"{what} comes in a package of npm, which is not on this machine",
                cure="install it; on Debian: sudo apt-get install npm",
            )
        say(f"downloading {what}: once, 150 MB")
        _download([npm, "pack", "--silent", f"{ANDROID.name}@{ANDROID.version}"], what, folder)
        (package,) = folder.glob("*.tgz")
        try:
            with tarfile.open(package) as archive:
                _keep(archive.extractfile(ANDROID.member), folder / "onnxruntime.aar")
        except (tarfile.TarError, KeyError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DamagedError("the package of npm is damaged", why=str(error), cure="try again") from error
        _check(folder / "onnxruntime.aar", ANDROID.sha256)
        package.unlink()

    return made_once("onnxruntime", "android", ANDROID.sha256[:16], make) / "onnxruntime.aar"


def fetch_onnxruntime(platform: Platform, say: Callable[[str], None] = lambda text: None) -> Path:
    """``libonnxruntime.so`` for ``platform``, from pamc's cache; the first time it is downloaded.

    ``say`` is told before that. Raises MissingRuntimeError for a platform without a library and when it cannot be
    downloaded, DamagedError for other contents than the pinned ones.
    """
    if platform.libc == "bionic":

        def make(folder: Path) -> None:
            with zipfile.ZipFile(fetch_android(say)) as archive:
                _keep(archive.open(f"jni/arm64-v8a/{LIBRARY}"), folder / LIBRARY)

        return made_once("onnxruntime", platform.name, ANDROID.sha256[:16], make) / LIBRARY
    part = WHEELS.get(platform.name)
    if part is None:
        raise MissingRuntimeError(
            f"ONNX Runtime publishes no library for {platform.name}",
            cure="use --runtime litert there, or build ONNX Runtime and put libonnxruntime.so beside the runner",
        )

    def download(folder: Path) -> None:
        say(f"downloading ONNX Runtime {part.wheel.version} for {platform.name}: once, 20 MB")
        _from_wheel(part, folder)

    return made_once("onnxruntime", platform.name, part.wheel.sha256[:16], download) / LIBRARY
