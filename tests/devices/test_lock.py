import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pamc_devices.base import Device
from pamc_devices.failures import checked
from pamc_devices.find import open_device
from pamc_devices.lock import locked
from pamc_devices.states import BusyError

HOLD = (
    "import sys, time; from pamc_devices.find import opened; from pamc_devices.lock import locked\n"
    "with opened(sys.argv[1]) as device, locked(device, 'a long test'): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Device]:
    device = open_device(f"local://{tmp_path}/home")
    yield device
    device.close()


@pytest.fixture
def held(here: Device) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, here.url], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    yield holder
    holder.kill()
    holder.wait()


def rewrite(device: Device, change: Callable[[dict[str, str]], None], since: int = 0, boot: str | None = None) -> None:
    """Change what the lock on the device says of its holder."""
    path = Path(device.home(), "lock", "owner")
    then, boot_then, owner = path.read_text().split(" ", 2)
    values = json.loads(owner)
    change(values)
    path.write_text(f"{int(then) + since} {boot_then if boot is None else boot} {json.dumps(values)}\n")


def listed(device: Device) -> bytes:
    """What lies in pamc's folder on the device, which other tests may have used."""
    return device.run(["sh", "-c", 'ls "$1"', "sh", device.home()]).stdout


def test_a_lock_keeps_others_out_and_says_who_holds_it(device: Device) -> None:
    before = listed(device)
    with locked(device, "deploy"):
        with pytest.raises(BusyError) as caught, locked(device, "bench"):
            pass
        assert f"process {os.getpid()}" in str(caught.value) and "(deploy)" in str(caught.value)
    with locked(device, "bench"):
        pass
    assert listed(device) == before


def test_an_error_gives_the_lock_back(here: Device) -> None:
    with pytest.raises(KeyError), locked(here, "x"):
        raise KeyError
    with locked(here, "y"):
        pass


def test_another_process_is_kept_out(here: Device, held: subprocess.Popen[bytes]) -> None:
    with pytest.raises(BusyError, match="a long test"), locked(here, "x"):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(here: Device, held: subprocess.Popen[bytes]) -> None:
    held.kill()
    held.wait()
    start = time.monotonic()
    with locked(here, "x"):
        pass
    assert time.monotonic() - start < 5


def test_waiting_gets_it_when_the_other_is_done(here: Device, held: subprocess.Popen[bytes]) -> None:
    threading.Timer(0.5, held.kill).start()
    with locked(here, "x", wait=30):
        pass


def test_a_lock_of_another_machine_holds(here: Device, held: subprocess.Popen[bytes]) -> None:
    rewrite(here, lambda owner: owner.update(client="f" * 32))
    held.kill()
    held.wait()
    with pytest.raises(BusyError), locked(here, "x"):
        pass


@pytest.mark.parametrize(("since", "boot"), [(-90_000, None), (0, "another-boot")])
def test_one_that_is_a_day_old_or_of_another_boot_does_not(
    here: Device, held: subprocess.Popen[bytes], since: int, boot: str | None
) -> None:
    rewrite(here, lambda owner: owner.update(client="f" * 32), since, boot)
    with locked(here, "x"):
        pass


def test_a_clock_that_was_set_back_frees_nothing(here: Device, held: subprocess.Popen[bytes]) -> None:
    rewrite(here, lambda owner: owner.update(client="f" * 32), since=90_000)
    with pytest.raises(BusyError), locked(here, "x"):
        pass


@pytest.mark.parametrize("text", [None, "", "nonsense", "1 2 {}", "1 2 {\nand more\n", '1 2 {"holder": "../../x"}'])
def test_a_lock_that_cannot_be_read_is_removed(here: Device, text: str | None) -> None:
    lock = Path(here.home(), "lock")
    lock.mkdir()
    if text is not None:
        (lock / "owner").write_text(text)
    with locked(here, "x"):
        pass
    assert not lock.exists()


def test_what_a_killed_release_left_is_removed(here: Device) -> None:
    left = Path(here.home(), "lock.gone-1")
    left.mkdir()
    (left / "owner").write_text("1 2 {}\n")
    with locked(here, "x"):
        pass
    assert not left.exists()


def test_of_many_at_once_one_has_it_at_a_time(here: Device) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with locked(here, "x", wait=60):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_a_device_that_cannot_be_written_is_no_busy_one(here: Device) -> None:
    checked(here, ["sh", "-c", 'rm -rf "$1" && echo >"$1"', "sh", here.home()])
    with pytest.raises(Exception, match="taking the lock"), locked(here, "x"):
        pass
