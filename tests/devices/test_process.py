import os
import time
from pathlib import Path

import pytest

from pamc_devices.process import exchange


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie of somebody else's is dead as well.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def gone(pid: int, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_what_goes_in_comes_out() -> None:
    data = os.urandom(1 << 20)
    ended = exchange(["cat"], feed=[data[:10], b"", data[10:]], timeout=20)
    assert (ended.status, ended.stdout, ended.how) == (0, data, "ended")


def test_status_and_signal() -> None:
    assert exchange(["sh", "-c", "echo x >&2; exit 7"], timeout=20).status == 7
    assert exchange(["sh", "-c", "kill -9 $$"], timeout=20).status == 137


def test_a_program_that_reads_nothing_does_not_block() -> None:
    assert exchange(["true"], feed=[bytes(1 << 20)], timeout=20).how == "ended"


def test_held_stdin_stays_open_until_the_end() -> None:
    ended = exchange(
        ["sh", "-c", "read line; echo $line; read more || echo closed"], feed=[b"x\n"], hold=True, timeout=1
    )
    assert (ended.stdout, ended.how) == (b"x\n", "timeout")


def test_time_that_is_over_ends_the_children_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; echo $$ >{pids}; sleep 60 & echo $! >>{pids}; sleep 60"
    start = time.monotonic()
    assert exchange(["sh", "-c", script], timeout=0.3).how == "timeout"
    assert time.monotonic() - start < 5
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_child_that_holds_the_pipes_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start = time.monotonic()
    ended = exchange(["sh", "-c", f"sleep 60 & echo $! >{pid}; echo done"], timeout=30)
    assert (ended.status, ended.stdout, ended.how) == (0, b"done\n", "ended")
    assert time.monotonic() - start < 10
    assert gone(int(pid.read_text()))


def test_a_flood_is_stopped() -> None:
    ended = exchange(
        ["sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"], timeout=30, limit=100_000
    )
    assert ended.how == "flood"
    assert len(ended.stdout) < 300_000


def test_a_sink_that_fails_ends_the_process(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def full(_data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        exchange(["sh", "-c", f"echo $$ >{pid}; echo x; sleep 60"], timeout=30, sink=full)
    assert gone(int(pid.read_text()))
