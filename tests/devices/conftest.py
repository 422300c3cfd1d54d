"""Devices to test on: this machine, and the boards that stand in for a Raspberry Pi and for a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pamc_devices.find import open_device
from pamc_devices.remote import ShellDevice

KINDS = ("local", "ssh", "adb")


@pytest.fixture
def at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], str]:
    """The address of a kind of device, with pamc's files in a folder: that folder, or an own one for ''."""

    def address(kind: str, folder: str = "") -> str:
        if kind == "ssh":
            board = request.getfixturevalue("ssh_board")
            monkeypatch.setenv("PAMC_SSH_CONFIG", str(board.config))
            return f"{board.url}{folder}"
        if kind == "adb":
            board = request.getfixturevalue("adb_board")
            monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(board.server))
            return f"{board.url}{folder}"
        return f"local://{folder or tmp_path / 'home of pamc'}"

    return address


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest, at: Callable[[str, str], str], tmp_path: Path) -> Iterator[ShellDevice]:
    """A device of each kind."""
    opened = open_device(at(request.param, ""))
    assert isinstance(opened, ShellDevice)
    if request.param == "local":
        # Not where other tests put theirs.
        opened.scratch = str(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=("ssh", "adb"))
def board(request: pytest.FixtureRequest) -> str:
    """The kind of a board that has faulty disks."""
    return str(request.param)
