"""Runs scenarios in an order that a seed decides, and checks the boards after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.boards.adb import adb_board, adb_server
from tests.boards.ssh import ssh_board
from tests.devices.faults import deployments, links, runners
from tests.devices.faults.scene import Scene, World

__all__ = ["KINDS", "SCENARIOS", "boards", "describe", "run_one"]

SCENARIOS: tuple[Callable[[Scene], None], ...] = (*links.SCENARIOS, *deployments.SCENARIOS, *runners.SCENARIOS)
KINDS = ("ssh", "adb")


def describe(number: int) -> tuple[Callable[[Scene], None], str]:
    """The scenario of a number and the kind of its board: all of them in turn, then again with other choices."""
    turn, place = divmod(number, len(SCENARIOS))
    return SCENARIOS[place], KINDS[(turn + place) % 2]


def run_one(world: World, number: int, seed: int) -> None:
    """One scenario. Afterwards nothing runs on the board, a deployment there works, and nothing else is left."""
    scenario, kind = describe(number)
    scene = Scene(world, kind, number, seed)
    try:
        scenario(scene)
        scene.check_quiet()
        scene.check_store()
        scene.recover()
        scene.check_quiet()
        scene.check_store()
        scene.check_clean()
    finally:
        scene.end()


@contextmanager
def boards(folder: Path) -> Iterator[World]:
    """Boards for a campaign outside of pytest."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ssh_board(folder / "ssh") as ssh,
        adb_server(folder / "server") as port,
        adb_board(folder / "adb", port) as adb,
        adb_board(folder / "secure", port, keys="") as secure,
    ):
        patch.setenv("PAMC_SSH_CONFIG", str(ssh.config))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        (folder / "files").mkdir()
        yield World(ssh, adb, secure, folder / "files")
