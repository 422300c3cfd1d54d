"""Fixtures that start boards: one of each kind for a test process, at its first use, ended with the process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.boards.adb import AdbBoard, adb_server
from tests.boards.adb import adb_board as run_adb_board
from tests.boards.machine import obstacle
from tests.boards.ssh import SshBoard
from tests.boards.ssh import ssh_board as run_ssh_board

__all__ = ["adb_board", "adb_port", "boards", "secure_adb_board", "ssh_board"]


@pytest.fixture(scope="session")
def boards() -> None:
    """Skip where no board can be started; fail instead where the variable CI is set."""
    if reason := obstacle():
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def ssh_board(boards: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBoard]:
    """A Raspberry Pi 4 at ``ssh_board.url``. Sets PAMC_SSH_CONFIG; nothing of the user's ssh is read or changed."""
    with pytest.MonkeyPatch.context() as patch, run_ssh_board(tmp_path_factory.mktemp("ssh") / "board") as board:
        patch.setenv("PAMC_SSH_CONFIG", str(board.config))
        yield board


@pytest.fixture(scope="session")
def adb_port(boards: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an adb server of the tests' own. Sets ANDROID_ADB_SERVER_PORT; the user's server is left alone."""
    with pytest.MonkeyPatch.context() as patch, adb_server(tmp_path_factory.mktemp("adb") / "server") as port:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        yield port


@pytest.fixture(scope="session")
def adb_board(adb_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbBoard]:
    """A phone at ``adb_board.url``."""
    with run_adb_board(tmp_path_factory.mktemp("adb") / "board", adb_port) as board:
        yield board


@pytest.fixture(scope="session")
def secure_adb_board(adb_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbBoard]:
    """A phone that has not allowed this computer to debug it."""
    with run_adb_board(tmp_path_factory.mktemp("adb") / "secure", adb_port, keys="") as board:
        yield board
