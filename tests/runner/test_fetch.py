"""Libraries for boards that cannot be had, or are not what was pinned: said clearly, and nothing stays in the cache."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pamc_devices.runner.fetch import ANDROID, fetch_android, fetch_onnxruntime
from pamc_devices.runner.platforms import platform_of
from pamc_devices.states import DamagedError, MissingRuntimeError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PAMC_CACHE", str(folder))
    return folder


def kept(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_without_a_network_it_says_what_it_wanted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingRuntimeError, match=r"ONNX Runtime [\d.]+ for the device cannot be downloaded") as error:
        fetch_onnxruntime(platform_of("aarch64", "glibc"))
    assert "onnxruntime" in str(error.value.why) and "network" in str(error.value.cure)
    assert not kept(cache)


def test_a_platform_without_a_library_is_refused_at_once(cache: Path) -> None:
    with pytest.raises(MissingRuntimeError, match="publishes no library for linux-armv7"):
        fetch_onnxruntime(platform_of("armv7l", "glibc"))
    assert not kept(cache)


def test_a_machine_without_npm_is_told_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="npm") as error:
        fetch_android()
    assert "apt-get install npm" in str(error.value.cure)


def _package(members: dict[str, bytes | None]) -> bytes:
    """A package of npm with these files; None makes a folder."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            archive.addfile(entry, None if content is None else io.BytesIO(content))
    return held.getvalue()


def npm_that_brings(folder: Path, content: bytes) -> Path:
    """What a registry that was broken into, or a proxy that cuts off, would bring."""
    folder.mkdir()
    (folder / "package.tgz").write_bytes(content)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\ncp '{folder}/package.tgz' .\n")
    npm.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _package({ANDROID.member: b"another library"}), "is not the file that pamc knows"),
        (lambda: _package({"package/README": b""}), "the package of npm is damaged"),
        (lambda: _package({ANDROID.member: None}), "a package lacks onnxruntime.aar"),
        (lambda: _package({ANDROID.member: bytes(100_000)})[:60], "the package of npm is damaged"),
        (lambda: _package({ANDROID.member: b"x"})[:20] + bytes(80), "the package of npm is damaged"),
        (lambda: b"<html>proxy</html>", "the package of npm is damaged"),
    ],
    ids=["another", "lacking", "folder", "cut", "overwritten", "no archive"],
)
def test_a_package_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes], message: str
) -> None:
    place = npm_that_brings(tmp_path / "bin", make())
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    with pytest.raises(DamagedError, match=message):
        fetch_android()
    assert not kept(cache)
