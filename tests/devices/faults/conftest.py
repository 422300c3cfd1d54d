"""The boards of the campaign's slice in `make test`."""

from __future__ import annotations

import pytest

from tests.boards.adb import AdbBoard
from tests.boards.ssh import SshBoard
from tests.devices.faults.scene import World


@pytest.fixture(scope="session")
def world(
    ssh_board: SshBoard,
    adb_board: AdbBoard,
    secure_adb_board: AdbBoard,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """Boards that the tests of this process share."""
    return World(ssh_board, adb_board, secure_adb_board, tmp_path_factory.mktemp("faults"))
