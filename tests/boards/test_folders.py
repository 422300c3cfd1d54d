"""Folders of the cache are made once, and whole or not at all; packages come from where they should."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pamc_devices.debian import Apt, debian_archive
from pamc_devices.folders import cache_folder, content_key, made_once
from pamc_devices.states import AbsentError, CommandError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_pamcs(cache: Path) -> None:
    from pamc.bundle import cache as of_pamc

    assert cache_folder() == of_pamc.cache_root() == cache


def test_a_folder_is_made_once(cache: Path) -> None:
    calls = []
    barrier = threading.Barrier(4)

    def make(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.2)  # so that all ask meanwhile
        (folder / "file").write_text("whole")

    def ask() -> Path:
        barrier.wait()
        return made_once("kind", "name", content_key("a", [1]), make)

    with ThreadPoolExecutor(4) as pool:
        found = {future.result() for future in [pool.submit(ask) for _ in range(4)]}
    assert len(calls) == 1 and len(found) == 1
    assert (found.pop() / "file").read_text() == "whole"


def test_a_failure_leaves_nothing_and_the_next_try_starts_afresh(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        made_once("kind", "name", "key", fail)
    assert [path.name for path in (cache / "kind").iterdir() if path.is_dir()] == []
    # As a killed process leaves it.
    left = cache / "kind" / "name-key.partial"
    left.mkdir()
    (left / "old").touch()
    made = made_once("kind", "name", "key", lambda folder: (folder / "new").touch())
    assert [path.name for path in made.iterdir()] == ["new"]


def test_keys_tell_contents_apart() -> None:
    assert content_key("a", ["b"]) == content_key("a", ["b"])
    assert len({content_key("a", ["b"]), content_key("a", "b"), content_key("ab"), content_key("a", ["b", ""])}) == 4


def test_an_archive_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAMC_DEBIAN_ARCHIVE", f"file://{tmp_path}/nowhere")
    assert debian_archive() == f"file://{tmp_path}/nowhere"
    with pytest.raises((CommandError, AbsentError)) as caught:
        Apt(tmp_path / "apt", "arm64").update()
    assert caught.value.cure


def test_without_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PAMC_DEBIAN_ARCHIVE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AbsentError) as caught:
        debian_archive()
    assert "PAMC_DEBIAN_ARCHIVE" in str(caught.value)
