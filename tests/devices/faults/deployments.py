"""Faults of deployments: each leaves the deployment before in use, or the new one, whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pamc.bundle import open_bundle
from pamc.errors import OutputError, PamcError, VerificationError
from pamc_devices.deploy import Deployed, self_test
from pamc_devices.deployment import Program, pack
from pamc_devices.messages import Samples
from pamc_devices.states import (
    AbsentError,
    BusyError,
    CommandError,
    DamagedError,
    LostError,
    NoSpaceError,
    OfflineError,
    ReadOnlyError,
    TimedOutError,
    WrongArchitectureError,
)
from tests.bundle.making import make_bundle
from tests.devices.faults.links import foreign_program
from tests.devices.faults.proxy import Proxy
from tests.devices.faults.scene import Scene, outcome

__all__ = ["SCENARIOS"]

_BROKEN = (AbsentError, LostError, OfflineError, DamagedError)


def _stays(scene: Scene, before: str | None, call: Callable[[], Deployed], *kinds: type[PamcError]) -> None:
    """``call`` fails with one of ``kinds`` and the deployment in use is the one before."""
    found = outcome(call)
    assert isinstance(found, kinds), f"not one of {[kind.__name__ for kind in kinds]}: {found!r} {found}"
    assert scene.current() == before
    scene.check_store()


def _may_stay(scene: Scene, before: str | None, wanted: str, call: Callable[[], Deployed]) -> None:
    """``call`` works and switches, or fails by a broken connection, when it may have switched already."""
    found = outcome(call)
    scene.check_store()
    if isinstance(found, Deployed):
        assert scene.current() == wanted
    else:
        assert isinstance(found, _BROKEN), f"{found!r} {found}"
        assert scene.current() in (before, wanted)


def _first(scene: Scene) -> str | None:
    """A deployment to lose, in half of the scenes."""
    return scene.deploy(scene.parcel(sets=("smile",))).deployment.id if scene.random.random() < 0.5 else None


def cut(scene: Scene) -> None:
    """The connection breaks anywhere in a deployment."""
    before = _first(scene)
    wanted = scene.parcel()
    way, most = scene.random.choice([("up", 5.8), ("down", 4.7)])
    proxy = Proxy(scene.board.port, way=way, after=int(10 ** scene.random.uniform(3.0, most)))  # type: ignore[arg-type]
    _may_stay(scene, before, wanted.deployment.id, lambda: scene.deploy(wanted, scene.at(proxy.port)))
    proxy.close()


def killed_client(scene: Scene) -> None:
    """The pamc that deploys is killed; the next one takes its lock over."""
    before = _first(scene)
    wanted = scene.parcel()
    child = os.fork()
    if child == 0:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            scene.deploy(wanted)
        finally:
            os._exit(0)
    time.sleep(scene.random.uniform(0.2, 6.0))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    scene.check_quiet()
    scene.check_store()
    assert scene.current() in (before, wanted.deployment.id)


def two_clients(scene: Scene) -> None:
    """Two deploy different versions at once: one after the other, or one is told that the other is there."""
    parcels = [scene.parcel(sets=("age",)), scene.parcel(sets=("smile",))]
    wait = scene.random.choice([0.0, 120.0])
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(outcome, partial(scene.deploy, parcel, wait=wait)) for parcel in parcels]
        found = [future.result() for future in futures]
    done = [it for it in found if isinstance(it, Deployed)]
    assert done, found
    assert all(isinstance(it, Deployed | BusyError) for it in found), found
    assert len(done) == 2 or wait == 0.0, found
    assert scene.current() in [it.deployment.id for it in done]
    scene.check_store()


def full_disk(scene: Scene) -> None:
    """The disk has no room: from the start, or because somebody else fills it while the deployment goes on."""
    disk = scene.on_disk("/mnt/small")
    _wipe(disk)
    filler = disk / "filler"
    room = (4 << 20) - scene.random.randrange(20_000, 200_000)
    late = scene.random.random() < 0.7

    def fill() -> None:
        deadline = time.monotonic() + 60
        while late and not list(disk.glob("store/objects/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        # The deployment may have taken some of that room already.
        with suppress(OSError):
            filler.write_bytes(bytes(room))

    filling = threading.Thread(target=fill)
    filling.start()
    if not late:
        filling.join()
    found = outcome(lambda: scene.deploy(scene.parcel(), scene.board.url + "/mnt/small"))
    filling.join()
    if not isinstance(found, Deployed) or not late:
        assert isinstance(found, NoSpaceError), f"{found!r} {found}"
        assert not list(disk.glob("store/current/*"))
    filler.unlink()
    wanted = scene.parcel()
    scene.deploy(wanted, scene.board.url + "/mnt/small")
    assert (disk / "store/current/kit").read_text().split("\n")[0] == wanted.deployment.id
    assert {path.name for path in disk.iterdir()} == {"store"}
    _wipe(disk)


def read_only(scene: Scene) -> None:
    """The folder cannot be written, or does not let programs run."""
    parcel = scene.parcel()
    found = outcome(lambda: scene.deploy(parcel, scene.board.url + "/mnt/readonly"))
    assert isinstance(found, ReadOnlyError), found
    found = outcome(lambda: scene.deploy(parcel, scene.board.url + "/mnt/noexec"))
    assert isinstance(found, CommandError), found
    disk = scene.on_disk("/mnt/noexec")
    assert not list((disk / "store" / "current").glob("*")) and not (disk / "lock").exists()
    _wipe(disk)


def corrupted(scene: Scene) -> None:
    """A file on the device changes, is cut off or is lost, its size and date as they were where possible."""
    parcel = scene.parcel()
    id = scene.deploy(parcel).deployment.id
    folder = scene.on_disk(f"{scene.home}/store/deployments/{id}")
    name = scene.random.choice(sorted(parcel.deployment.files))
    path = folder / name
    kept = path.stat()
    how = scene.random.choice(["flip", "cut", "lose"])
    data = bytearray(path.read_bytes())
    if how == "lose":
        path.unlink()
    else:
        if how == "flip":
            data[scene.random.randrange(len(data))] ^= 1 << scene.random.randrange(8)
        else:
            del data[len(data) // 2 :]
        path.write_bytes(data)
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert isinstance(scene.deploy(parcel), Deployed)
    assert path.read_bytes() == parcel.sources[name].read_bytes()
    scene.check_store()


def foreign_processor(scene: Scene) -> None:
    """The runner was made for another processor."""
    before = _first(scene)
    program = Program("onnxruntime", {"runner": foreign_program(scene.here / "program")}, ("program/runner",))
    parcel = pack(open_bundle(scene.world.kit()), ("age",), program)
    _stays(scene, before, lambda: scene.deploy(parcel), WrongArchitectureError)


_HONEST = (
    '{"kind":"checked","task_set":"age","task":"age","error":1e-7,"limit":1e-4,"ok":true}',
    '{"kind":"checked","task_set":"smile","task":"smile","error":2e-7,"limit":1e-4,"ok":true}',
    '{"kind":"end","lines":2,"status":0}',
)


def _says(text: str, status: int = 0) -> str:
    """A runner that writes ``text`` and ends."""
    return "#!/bin/sh\nprintf %s '" + text.replace("'", "'\\''") + f"'\nexit {status}\n"


def _garble(scene: Scene, how: int) -> tuple[str, int]:
    """An honest answer that something went wrong with, and the exit status that comes with it."""
    lines = list(_HONEST)
    at = scene.random.randrange(len(lines))
    status = 0
    if how == 0:
        text = "\n".join(lines) + "\n"
        return text[: scene.random.randrange(len(text) - 1)], 0
    if how == 1:
        del lines[at]
    elif how == 2:
        lines.insert(at, lines[at])
    elif how == 3:
        lines[at] = lines[at].replace('"kind":', '"kind":"x","kind":')
    elif how == 4:
        noise = ["Segmentation fault", "\x02\x01", "{", "[]", "null", "Infinity", "[" * 3000]
        lines.insert(at, scene.random.choice(noise))
    elif how == 5:
        lines[0] = lines[0].replace("1e-7", scene.random.choice(["NaN", "Infinity", "-1", '"0"', "1e999", "0.5"]))
    elif how == 6:
        lines[1] = lines[1].replace("smile", scene.random.choice(["age", "../age", "age+age", "x", ""]))
    elif how == 7:
        status = scene.random.choice([1, 4, 5, 74, 139])
    else:
        lines[-1] = '{"kind":"end","lines":2,"status":4}'
        status = 4
    return "\n".join(lines) + "\n", status


def garbled(scene: Scene) -> None:
    """The runner's answer is cut off, garbled, repeated, or about something else."""
    before = _first(scene)
    answers = [_garble(scene, how) for how in range(9)]
    parcel = scene.parcel(sets=("age", "smile"), runner=_says(*scene.random.choice(answers)))
    _stays(scene, before, lambda: scene.deploy(parcel), DamagedError, VerificationError, CommandError)
    with scene.open() as device, device.tmpdir() as folder:
        script = scene.here / "garbled.sh"
        for answer in answers:
            script.write_text(_says(*answer))
            script.chmod(0o755)
            device.push(script, f"{folder}/garbled.sh")
            fake = replace(parcel.deployment, command=(f"{folder}/garbled.sh",), options=())
            found = outcome(partial(self_test, Deployed(device, fake, folder)))
            assert isinstance(found, PamcError), f"{answer} was taken for an answer: {found}"


def killed_runner(scene: Scene) -> None:
    """The runner is killed in the self-test, after it has said a part of its answer."""
    before = _first(scene)
    runner = (
        f"#!/bin/sh\nprintf '%s\\n' '{_HONEST[0]}'\nkill -{scene.random.choice(['KILL', 'SEGV', 'BUS'])} $$\nsleep 60\n"
    )
    parcel = scene.parcel(sets=("age", "smile"), runner=runner)
    _stays(scene, before, lambda: scene.deploy(parcel), DamagedError, CommandError)


def clock_goes_back(scene: Scene) -> None:
    """The board's clock jumps: between samples of a measurement, and while a lock is held."""
    there = scene.deploy(scene.parcel())
    starts = sorted(scene.random.sample(range(10**9), 8))
    starts = [start - starts[0] for start in starts]
    times = [1 + (later - start) // 2 for start, later in zip(starts, [*starts[1:], starts[-1] + 10], strict=True)]
    place = scene.random.randrange(2, 8)
    samples = {
        "right": (starts, times),
        "back to the sample before": ([*starts[:place], starts[place - 1], *starts[place + 1 :]], times),
        "back to before the first": ([*starts[:place], starts[place] - 2 * 10**9, *starts[place + 1 :]], times),
        "back within a sample": (starts, [-1, *times[1:]]),
    }
    answers = {}
    with scene.open() as device, device.tmpdir() as folder:
        script = scene.here / "clock.sh"
        asked = Deployed(device, replace(there.deployment, command=(f"{folder}/clock.sh",)), there.folder)
        for name, (begun, took) in samples.items():
            line = json.dumps({"kind": "samples", "task_set": "age", "start_ns": begun, "ns": took})
            script.write_text(_says(f'{line}\n{{"kind":"end","lines":1,"status":0}}\n'))
            script.chmod(0o755)
            device.push(script, f"{folder}/clock.sh")
            answers[name] = outcome(partial(asked.ask, "bench", timeout=20))
    right = answers.pop("right")
    assert isinstance(right, tuple) and isinstance(right[0], Samples) and list(right[0].ns) == times, right
    assert all(isinstance(answer, DamagedError) for answer in answers.values()), answers
    lock = scene.on_disk(f"{scene.home}/lock")
    lock.mkdir(mode=0o777)
    lock.chmod(0o777)
    owner = {"who": "somebody", "purpose": "faults", "client": "0" * 32, "holder": "1" * 32}
    (lock / "owner").write_text(f"{int(time.time()) + 10**6}  {json.dumps(owner, sort_keys=True)}\n")
    found = outcome(lambda: scene.deploy(scene.parcel(sets=("age",))))
    assert isinstance(found, BusyError), found
    (lock / "owner").unlink()
    lock.rmdir()


def hostile_bundle(scene: Scene) -> None:
    """A bundle whose name or task set is a path or a command; nothing of it reaches the board."""
    bundle = make_bundle(scene.here / "hostile", ("age",))
    path = bundle / "manifest.json"
    text = path.read_text()
    name = scene.random.choice(["../../x", "a b", "$(id)", "-rf", "x\n", "", "é", "a/b", "'"])
    data = json.loads(text)
    data["name"] = name
    path.write_text(json.dumps(data))
    program = scene.parcel()
    made = Program("onnxruntime", {"runner.sh": program.sources["program/runner.sh"]}, ("program/runner.sh",))
    found = outcome(lambda: pack(open_bundle(bundle), ("age",), made))
    assert isinstance(found, PamcError), found
    assert isinstance(found, OutputError) or found.exit_code != 70


def interrupted_self_test(scene: Scene) -> None:
    """The self-test hangs until the connection breaks."""
    before = _first(scene)
    parcel = scene.parcel(runner="#!/bin/sh\nsleep 600\n")
    proxy = Proxy(scene.board.port)
    try:
        with scene.upon("sleep 600", act=lambda number: proxy.cut()):
            _stays(scene, before, lambda: scene.deploy(parcel, scene.at(proxy.port)), LostError, TimedOutError)
    finally:
        proxy.close()


def _wipe(disk: Path) -> None:
    for entry in disk.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


SCENARIOS = (
    cut,
    killed_client,
    two_clients,
    full_disk,
    read_only,
    corrupted,
    foreign_processor,
    garbled,
    killed_runner,
    clock_goes_back,
    hostile_bundle,
    interrupted_self_test,
)
