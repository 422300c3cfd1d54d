"""The place of one scenario: a board, a folder on it, and what must hold there afterwards."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pamc.bundle import open_bundle
from pamc.errors import DeviceError, InternalError, PamcError
from pamc_devices.base import Device
from pamc_devices.deploy import Deployed, deploy
from pamc_devices.deployment import DESCRIPTION, Parcel, Program, from_text, pack
from pamc_devices.find import opened
from pamc_devices.lock import locked
from tests.boards.adb import AdbBoard
from tests.boards.launch import Running
from tests.boards.ssh import SshBoard
from tests.bundle.making import make_bundle
from tests.deploy.parts import HONEST

__all__ = ["BALLAST", "Scene", "World", "outcome"]

BALLAST = 300_000
"""Bytes of a file without meaning in every deployment here, so that a transfer takes a while."""
_SETTLE_SECONDS = 15.0
_SCRATCH = {"ssh": "tmp", "adb": "data/local/tmp"}

T = TypeVar("T")


def outcome(call: Callable[[], T]) -> T | PamcError:
    """What ``call`` returns, or its error when that is one which a user may see. Any other one is a defect."""
    try:
        return call()
    except PamcError as error:
        assert not isinstance(error, InternalError), error
        assert str(error).strip()
        if isinstance(error, DeviceError):
            assert error.where, f"it names no device: {error}"
        return error


@dataclass(frozen=True, slots=True)
class World:
    """The boards of a campaign, and a folder of this machine for files to send."""

    ssh: SshBoard
    adb: AdbBoard
    secure: AdbBoard
    folder: Path

    def kit(self) -> Path:
        """A small bundle with three task sets."""
        path = self.folder / "kit"
        return path if path.exists() else make_bundle(path, ("age", "smile", "age+smile"))


class Scene:
    """One scenario's own folder ``home`` on the board of kind ``kind``, with a choice that a seed decides."""

    def __init__(self, world: World, kind: str, number: int, seed: int) -> None:
        self.world = world
        self.kind = kind
        self.random = random.Random(f"{seed}/{number}")
        self.board: SshBoard | AdbBoard = world.ssh if kind == "ssh" else world.adb
        self.running: Running = self.board.running
        self.home = f"{self.board.home}/fault {number}"
        self.here = world.folder / f"scene-{number}"
        self.here.mkdir()
        self._root = self.running.root()
        self._scratch = self._root / _SCRATCH[kind]
        self._before = (set(self.running.processes()), self._names(self._scratch))

    @property
    def url(self) -> str:
        """The board with the scene's folder."""
        return self.board.url + self.home

    def at(self, port: int, home: str | None = None) -> str:
        """The same through another port."""
        return self.board.at(port) + (self.home if home is None else home)

    def on_disk(self, path: str) -> Path:
        """A path of the board as this machine sees it."""
        return self._root / path.lstrip("/")

    def parcel(self, *, sets: tuple[str, ...] = ("age", "smile", "age+smile"), runner: str = HONEST) -> Parcel:
        """The kit with ``sets`` and a runner that is a script of a few lines, and some ballast."""
        script, ballast = self.here / "runner.sh", self.here / "ballast.bin"
        script.write_text(runner)
        script.chmod(0o755)
        ballast.write_bytes(random.Random(0).randbytes(BALLAST))
        files = {"runner.sh": script, "ballast.bin": ballast}
        return pack(open_bundle(self.world.kit()), sets, Program("onnxruntime", files, ("program/runner.sh",)))

    def deploy(self, parcel: Parcel, url: str | None = None, wait: float = 0.0) -> Deployed:
        """What `pamc deploy` does, on a connection of its own."""
        with opened(url or self.url) as device, locked(device, "faults", wait):
            return deploy(device, parcel).deployed

    @contextmanager
    def open(self, url: str | None = None) -> Iterator[Device]:
        """A connection to the board."""
        with opened(url or self.url) as device:
            yield device

    def current(self) -> str | None:
        """The id that the pointer of the kit names on the board's disk."""
        path = self.on_disk(f"{self.home}/store/current/kit")
        return path.read_text().split("\n")[0] if path.exists() else None

    def check_store(self) -> None:
        """Every deployment there is whole, and the pointer names one of them."""
        store = self.on_disk(f"{self.home}/store")
        if not store.exists():
            return
        found = set()
        for folder in (store / "deployments").glob("*"):
            if folder.name.endswith(".part"):
                continue
            text = (folder / DESCRIPTION).read_text()
            held = from_text(text)
            assert held.id == folder.name
            for name, entry in held.files.items():
                assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry.sha256, name
            found.add(held.id)
        for pointer in (store / "current").glob("*"):
            named = [line for line in pointer.read_text().split("\n") if line]
            assert named and set(named) <= found, (named, found)

    def recover(self) -> None:
        """A command works, and a deployment where the scenario was about one, which takes over a lock left there."""
        with self.open() as device:
            assert device.run(["echo", "back"]).stdout == b"back\n"
        if not any(self.on_disk(f"{self.home}/{name}").exists() for name in ("store", "lock")):
            return
        wanted = self.parcel(sets=("age",))
        there = self.deploy(wanted, wait=30)
        assert self.current() == wanted.deployment.id == there.deployment.id

    def idle(self) -> set[int]:
        """The board's processes as they were before the scenario."""
        return self._before[0]

    @contextmanager
    def upon(self, *words: str, act: Callable[[int], None], delay: float = 0.0) -> Iterator[threading.Event]:
        """Act, once in the block, on the processes of the board whose command lines have all ``words``.

        ``act`` gets the number of each, ``delay`` seconds after it was seen. The event is set once one was acted on.
        """
        acted, over = threading.Event(), threading.Event()

        def watch() -> None:
            while not acted.is_set() and not over.wait(0.02):
                for number, line in self.running.processes().items():
                    if all(word in line for word in words):
                        over.wait(delay)
                        # It may have ended meanwhile.
                        with suppress(ProcessLookupError):
                            act(number)
                            acted.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield acted
        finally:
            over.set()
            watcher.join()

    def check_quiet(self) -> None:
        """No process of ours runs on the board."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while left := {number: line for number, line in self.running.processes().items() if number not in self.idle()}:
            assert time.monotonic() < deadline, f"still running there: {left}"
            time.sleep(0.1)

    def check_clean(self) -> None:
        """Only the store is in the scene's folder, nothing unfinished in it, and nothing in the folder for scratch."""
        home = self.on_disk(self.home)
        names = {path.name for path in home.glob("*")}
        assert names <= {"store"}, f"left behind in the folder: {sorted(names)}"
        unfinished = [str(path.relative_to(home)) for path in home.rglob("*") if ".part" in path.name]
        assert not unfinished, f"left behind in the store: {unfinished}"
        scratch = self._names(self._scratch) - self._before[1]
        assert not scratch, f"left behind: {sorted(scratch)}"

    def _names(self, folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir() if not path.name.startswith("fault ")}

    def end(self) -> None:
        """Remove the scene's folders. The adb server must forget the ports that were only this scene's."""
        home = self.on_disk(self.home)
        for path in (home, *home.rglob("*")):
            if path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(self.here)
        if isinstance(self.board, AdbBoard):
            self.board.forget()
