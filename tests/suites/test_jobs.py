"""Jobs in processes: order, failures, crashes, interruption."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.suites.paper.jobs import Job, run_jobs
from pamc.errors import ConfigError


class Told:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, name: str) -> None:
        self.events.append(("started", name))

    def finished(self, name: str, line: str) -> None:
        self.events.append(("finished", name))

    def failed(self, name: str, error: str) -> None:
        self.events.append(("failed", f"{name}: {error}"))


def touch(path: Path) -> str:
    path.write_text(os.environ["OMP_NUM_THREADS"])
    return "made"


def stumble() -> str:
    raise RuntimeError("I fell")


def refuse() -> str:
    raise ConfigError("no such net", where="here", cure="another")


def crash() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_failures_stop_only_what_needs_them(tmp_path: Path) -> None:
    told = Told()
    jobs = [
        Job("after", partial(touch, tmp_path / "after"), ("stumble",)),
        Job("far after", partial(touch, tmp_path / "far"), ("after",)),
        Job("stumble", stumble),
        Job("refuse", refuse),
        Job("crash", crash),
        Job("second", partial(touch, tmp_path / "second"), ("first",)),
        Job("first", partial(touch, tmp_path / "first")),
    ]
    errors = run_jobs(jobs, 3, told)
    assert errors.keys() == {"stumble", "refuse", "crash", "after", "far after"}
    assert "I fell" in errors["stumble"] and "needs stumble" in errors["after"] and "code -9" in errors["crash"]
    assert errors["refuse"] == str(ConfigError("no such net", where="here", cure="another"))
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second"}
    assert (tmp_path / "first").read_text() == "1"
    order = told.events
    assert order.index(("finished", "first")) < order.index(("started", "second"))


def sleep(running: Path) -> str:
    running.touch()
    time.sleep(60)
    return "slept"


# A shell that starts the tests in the background makes them, and all that they start, ignore Ctrl-C.
INTERRUPTED = """
import signal, sys
from multiprocessing import active_children
from functools import partial
from pathlib import Path
from benchmarks.suites.paper.jobs import Job, run_jobs
from tests.suites.test_jobs import Told, sleep
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run_jobs([Job("sleep", partial(sleep, Path(sys.argv[1])))], 1, Told())
    except KeyboardInterrupt:
        print("interrupted", active_children(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_end_ends_the_processes(number: signal.Signals, tmp_path: Path) -> None:
    script, running = tmp_path / "script.py", tmp_path / "running"
    script.write_text(INTERRUPTED)
    command = [sys.executable, str(script), str(running)]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=paths)
    while not running.exists():
        assert process.poll() is None
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == (("interrupted []\n", 0) if number == signal.SIGINT else ("", -number))
    # Python's own helper for shared resources notices a moment later that nobody is left.
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
