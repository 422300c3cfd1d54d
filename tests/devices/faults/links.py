"""Faults of connections, of rights and of commands."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from functools import partial
from pathlib import Path

from pamc.errors import PamcError
from pamc_devices.base import Result
from pamc_devices.failures import failure
from pamc_devices.states import (
    AbsentError,
    LostError,
    OfflineError,
    TimedOutError,
    UnauthorizedError,
    WrongArchitectureError,
)
from tests.boards.launch import free_port
from tests.devices.faults.proxy import Proxy
from tests.devices.faults.scene import Scene, outcome

__all__ = ["SCENARIOS", "foreign_program"]

_BROKEN = (AbsentError, LostError, OfflineError)


def _fails(found: object, *kinds: type[PamcError]) -> None:
    assert isinstance(found, kinds), f"not one of {[kind.__name__ for kind in kinds]}: {found!r} {found}"


def foreign_program(path: Path) -> Path:
    """A program for a processor that does not exist, so neither the board nor the machine below it can run it."""
    path.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHI", 2, 0x7FFE, 1) + bytes(200))
    path.chmod(0o755)
    return path


def refused(scene: Scene) -> None:
    """Nobody listens at the port."""
    with scene.open(scene.at(free_port())) as device:
        _fails(outcome(lambda: device.run(["true"])), AbsentError)


def unauthorized(scene: Scene) -> None:
    """The board does not know the key, or is not the board that the key was for."""
    world = scene.world
    urls = [world.ssh.stranger, world.ssh.changed] if scene.kind == "ssh" else [world.secure.url]
    with scene.open(scene.random.choice(urls) + scene.home) as device:
        _fails(outcome(lambda: scene.deploy(scene.parcel(), device.url)), UnauthorizedError)


def closes_at_once(scene: Scene) -> None:
    """Something listens and hangs up."""
    proxy = Proxy(scene.board.port, after=0)
    with scene.open(scene.at(proxy.port)) as device:
        _fails(outcome(lambda: device.run(["true"])), AbsentError, OfflineError)
    proxy.close()


def frozen(scene: Scene) -> None:
    """The board stops in the middle of a command and comes back later."""
    with scene.open() as device:
        device.run(["true"])
        timer = threading.Timer(scene.random.uniform(0.0, 0.5), scene.running.signal, [signal.SIGSTOP])
        thaw = threading.Timer(3.0, scene.running.signal, [signal.SIGCONT])
        timer.start()
        thaw.start()
        try:
            found = outcome(lambda: device.run(["sh", "-c", "echo a; sleep 1; echo b"], timeout=10))
        finally:
            thaw.join()
        if isinstance(found, Result):
            assert found == Result(0, b"a\nb\n", b"")
        else:
            _fails(found, TimedOutError, *_BROKEN)


def cut_in_push(scene: Scene) -> None:
    """The connection breaks while a file is sent over an older one of its name."""
    old, new = os.urandom(1000), scene.random.randbytes(400_000)
    source = scene.here / "new"
    with scene.open() as device:
        target = f"{device.home()}/file"
        source.write_bytes(old)
        device.push(source, target)
        source.write_bytes(new)
        proxy = Proxy(scene.board.port, after=int(10 ** scene.random.uniform(2, 5.7)))
        with scene.open(scene.at(proxy.port)) as broken:
            found = outcome(lambda: broken.push(source, target))
        proxy.close()
        there = scene.on_disk(target).read_bytes()
        assert there in (old, new), "neither the old file nor the new one"
        if found is None:
            assert there == new
        else:
            _fails(found, *_BROKEN)
        device.push(source, target)
        assert scene.on_disk(target).read_bytes() == new
        device.run(["rm", target])


def cut_in_pull(scene: Scene) -> None:
    """The connection breaks while a file is fetched."""
    data = scene.random.randbytes(400_000)
    source, target = scene.here / "data", scene.here / "fetched"
    source.write_bytes(data)
    target.write_bytes(b"old")
    with scene.open() as device:
        path = f"{device.home()}/file"
        device.push(source, path)
        proxy = Proxy(scene.board.port, way="down", after=int(10 ** scene.random.uniform(2, 5.8)))
        with scene.open(scene.at(proxy.port)) as broken:
            found = outcome(lambda: broken.pull(path, target))
        proxy.close()
        if found is None:
            assert target.read_bytes() == data
        else:
            _fails(found, *_BROKEN)
            assert target.read_bytes() == b"old"
        assert sorted(file.name for file in scene.here.iterdir()) == ["data", "fetched"]
        device.run(["rm", path])


def cut_in_run(scene: Scene) -> None:
    """The connection breaks while a command runs: one that writes all the time, and one that never does."""
    writing = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"
    for script, silent in ((writing, scene.random.random() < 0.2), ("sleep 60; echo late", False)):
        proxy = Proxy(scene.board.port, silent=silent)
        with scene.open(scene.at(proxy.port)) as device:
            device.run(["true"])
            threading.Timer(scene.random.uniform(0.1, 2.0), proxy.cut).start()
            found = outcome(partial(device.run, ["sh", "-c", script], timeout=40))
            _fails(found, LostError, TimedOutError, OfflineError)
        proxy.close()
        scene.check_quiet()


def hung(scene: Scene) -> None:
    """A command does not end; it has children, and may refuse to be asked."""
    script = scene.random.choice(
        [
            "sleep 600",
            "trap '' TERM INT HUP; while :; do sleep 1; done",
            "sleep 600 & sleep 600 & wait",
            "(trap '' TERM; sleep 600; sleep 600) & exec sleep 600",
        ]
    )
    with scene.open() as device:
        began = time.monotonic()
        _fails(outcome(lambda: device.run(["sh", "-c", script], timeout=1)), TimedOutError)
        assert time.monotonic() - began < 20


def daemon_children_die(scene: Scene) -> None:
    """The system of the board ends everything but its own daemon."""
    with scene.open() as device:
        device.run(["true"])

        def kill() -> None:
            for process in scene.running.processes():
                if process not in scene.idle():
                    os.kill(process, signal.SIGKILL)

        threading.Timer(scene.random.uniform(0.3, 1.0), kill).start()
        found = outcome(lambda: device.run(["sleep", "30"], timeout=40))
        if isinstance(found, Result):
            assert found.status == 128 + signal.SIGKILL
        else:
            _fails(found, *_BROKEN)
        assert device.run(["echo", "back"]).stdout == b"back\n"


def wrong_processor(scene: Scene) -> None:
    """A program for another processor."""
    with scene.open() as device, device.tmpdir() as folder:
        device.push(foreign_program(scene.here / "program"), f"{folder}/program")
        argv = [f"{folder}/program"]
        result = device.run(argv)
        assert result.status
        _fails(failure(argv, result, device.url), WrongArchitectureError)


def hostile_names(scene: Scene) -> None:
    """Files and arguments with names that a careless shell would run, split or lose."""
    pieces = [
        "'",
        '"',
        "$(touch x)",
        "`id`",
        "\n",
        " ",
        "\\",
        ";",
        "&",
        "|",
        "*",
        "~",
        "é",
        "\udcff",
        "-n",
        "#",
        "\r",
        "%s",
        "!",
    ]
    with scene.open() as device, device.tmpdir() as folder:
        for _ in range(3):
            name = "".join(scene.random.choices(pieces, k=scene.random.randint(1, 12))).encode(
                "utf-8", "surrogateescape"
            )
            text = os.fsdecode(name[:200])
            data = scene.random.randbytes(100)
            (scene.here / "file").write_bytes(data)
            device.push(scene.here / "file", f"{folder}/{text}")
            assert os.listdir(scene.on_disk(folder)) == [text]
            device.pull(f"{folder}/{text}", scene.here / "back")
            assert (scene.here / "back").read_bytes() == data
            assert device.run(["printf", "%s|", text, f"--{text}"]).stdout == os.fsencode(f"{text}|--{text}|")
            assert device.run(["rm", "--", f"{folder}/{text}"]).status == 0


SCENARIOS = (
    refused,
    unauthorized,
    closes_at_once,
    frozen,
    cut_in_push,
    cut_in_pull,
    cut_in_run,
    hung,
    daemon_children_die,
    wrong_processor,
    hostile_names,
)
