"""Jobs in processes of their own: results, what they tell, and every way in which they end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from pamc.errors import ConfigError, InternalError
from pamc.jobs import InProcesses, InTurn, Job
from pamc.progress import Progress, QuietProgress


class Notes(QuietProgress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def process_of(number: int, progress: Progress) -> tuple[int, int]:
    progress.note(f"number {number}")
    # The first takes the longest.
    time.sleep(0.2 if number else 1)
    return number, os.getpid()


def refuse(progress: Progress) -> None:
    raise ConfigError("no such thing", where="model.yaml:3", cure="another")


class OddError(Exception):
    def __init__(self, what: str, place: str) -> None:
        super().__init__(f"{what} at {place}")


def be_odd(progress: Progress) -> None:
    raise OddError("lost", "sea")


def fill_the_disk(progress: Progress) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere")


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def linger(folder: Path, told: bool, progress: Progress) -> None:
    """Say which process this is; then go on for long, and leave a sign when that ends."""
    try:
        (folder / f"{os.getpid()}.started").touch()
        while True:
            time.sleep(0.05)
            if told:
                progress.note("here")
    finally:
        (folder / f"{os.getpid()}.ended").touch()


def numbered(count: int) -> dict[str, Job[tuple[int, int]]]:
    return {f"job {number}": partial(process_of, number) for number in range(count)}


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_results_come_in_the_order_of_the_jobs_and_their_notes_say_whose_they_are() -> None:
    notes = Notes()
    with InProcesses(2, notes) as jobs:
        first, second = jobs.run(numbered(5)), jobs.run(numbered(2))
        assert len(active_children()) == 2
    assert [number for number, _ in first] == [0, 1, 2, 3, 4]
    told = [f"job {number}: {text}" for number in range(5) for text in ("done", f"number {number}")]
    assert sorted(notes.texts[:10]) == told
    processes = {process for _, process in first}
    assert len(processes) == 2 and os.getpid() not in processes
    # They are started once.
    assert {process for _, process in second} == processes
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


@pytest.mark.parametrize(("count", "jobs"), [(1, 3), (4, 1), (4, 0)])
def test_no_process_is_started_for_what_runs_in_turn(count: int, jobs: int) -> None:
    notes = Notes()
    with InProcesses(count, notes) as processes:
        assert processes.run(numbered(jobs)) == InTurn(QuietProgress()).run(numbered(jobs))
    assert notes.texts == [f"number {number}" for number in range(jobs)]


def test_an_error_is_the_one_that_was_raised_and_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught, InProcesses(2, QuietProgress()) as jobs:
        jobs.run({"long": partial(linger, tmp_path, False), "wrong": refuse})
    assert str(caught.value) == str(ConfigError("no such thing", where="model.yaml:3", cure="another"))
    # Where it was raised, for -vv.
    assert any("in refuse" in note for note in caught.value.__notes__)
    started, ended = (list(tmp_path.glob(f"*.{what}")) for what in ("started", "ended"))
    assert [path.stem for path in started] == [path.stem for path in ended]
    with pytest.raises(OSError) as full, InProcesses(2, QuietProgress()) as jobs:
        jobs.run({"one": fill_the_disk, "other": fill_the_disk})
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "/somewhere")
    # One that cannot be sent says the same.
    with pytest.raises(RuntimeError, match="OddError: lost at sea") as odd, InProcesses(2, QuietProgress()) as jobs:
        jobs.run({"one": be_odd, "other": be_odd})
    assert any("in be_odd" in note for note in odd.value.__notes__)


def test_a_process_that_the_system_kills_is_named() -> None:
    with pytest.raises(InternalError) as caught, InProcesses(2, QuietProgress()) as jobs:
        jobs.run({"right": partial(process_of, 1), "wrong": die})
    assert str(caught.value).startswith("wrong: its process ended without a result (exit code -9)")
    assert "--jobs 1" in str(caught.value)


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from pamc.jobs import InProcesses
from pamc.progress import QuietProgress
from tests.test_jobs import linger

if __name__ == "__main__":
    with InProcesses(2, QuietProgress()) as jobs:
        jobs.run({str(told): partial(linger, Path(sys.argv[1]), told) for told in (True, False)})
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[1]
    places = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, script, tmp_path],
        env={**os.environ, "PYTHONPATH": places},
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    ) as process:
        wait_for(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        # As from a terminal, Ctrl-C reaches all of them; the others only the one.
        (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
        assert process.wait(timeout=30) != 0
    wait_for(lambda: len(list(tmp_path.glob("*.ended"))) == 2)
    wait_for(lambda: not any(Path(f"/proc/{path.stem}").exists() for path in tmp_path.glob("*.started")))
