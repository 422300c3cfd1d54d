"""What must hold on every kind of device: the promises of `pamc_devices.base.Device`."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pamc.errors import ConfigError
from pamc_devices import states
from pamc_devices.base import Device
from pamc_devices.failures import checked, failure
from pamc_devices.find import opened
from pamc_devices.remote import ShellDevice

At = Callable[[str, str], str]
# Each takes a second on a board; the shells there are tested with many more in test_quoting.py.
EXAMPLES = 4
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00\x01" + bytes(100)  # RISC-V

words = st.binary(max_size=60).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
names = st.binary(min_size=1, max_size=255).map(lambda data: os.fsdecode(data.replace(b"\0", b"_").replace(b"/", b"_")))


@pytest.fixture
def mark() -> str:
    """Seconds of a `sleep` by which a test finds its own processes."""
    return str(100_000 + secrets.randbelow(900_000))


def is_left(mark: str) -> bool:
    """Whether `sleep` runs for the seconds ``mark``: this machine sees the processes of its boards too."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"sleep {mark}".encode() in path.read_bytes().replace(b"\0", b" "):
                return True
    return False


def ended(mark: str, seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while (left := is_left(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    return not left


def wait_until_started(mark: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not is_left(mark):
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def leaves_nothing(device: ShellDevice) -> Iterator[None]:
    """The folder of pamc on the device, and that for input, hold afterwards what they did before."""

    def files() -> str:
        script = 'for folder do echo "$folder"/pamc-input.* "$folder"/job.* "$folder"/*.part-*; done'
        return checked(device, ["sh", "-c", script, "sh", device.home(), device.scratch]).stdout.decode()

    before = files()
    yield
    assert files() == before


def test_is_a_device(device: ShellDevice) -> None:
    assert isinstance(device, Device)


def test_a_command_gets_its_environment_and_input_and_gives_back_all_it_says(device: ShellDevice) -> None:
    script = 'printf "%s|" "$name"; cat; echo oops >&2; exit 7'
    with leaves_nothing(device):
        result = device.run(["sh", "-c", script], env={"name": "it's\n"}, stdin=b"\0\xff\n" * 1000)
    assert (result.status, result.stdout, result.stderr) == (7, b"it's\n|" + b"\0\xff\n" * 1000, b"oops\n")


def test_stdin_is_empty_unless_given(device: ShellDevice) -> None:
    assert device.run(["cat"], timeout=20).stdout == b""


@pytest.mark.parametrize("status", [0, 1, 126, 127, 255])
def test_every_status_comes_back(device: ShellDevice, status: int) -> None:
    assert device.run(["sh", "-c", f"exit {status}"]).status == status


def test_a_signal_comes_back_as_a_status(device: ShellDevice) -> None:
    assert device.run(["sh", "-c", "kill -9 $$"]).status == 137


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(args=st.lists(words, min_size=10, max_size=40), value=words)
def test_any_argument_arrives_unchanged(device: ShellDevice, args: list[str], value: str) -> None:
    result = device.run(["sh", "-c", 'printf "%s\\0" "$value" "$@"', "sh", *args], env={"value": value})
    assert result.stdout == b"".join(os.fsencode(word) + b"\0" for word in (value, *args))


@pytest.mark.parametrize("letter", ["'", "\n", "ü"])
def test_an_argument_of_100_kb_arrives_unchanged(device: ShellDevice, letter: str) -> None:
    word = letter * (100_000 // len(letter.encode()))
    # `test` is in the shell on every device; what prints may be a program of its own, with limits of its own.
    assert device.run(["sh", "-c", 'echo "${#1}"; cat >&2', "sh", word], stdin=b"x").stderr == b"x"
    assert len(device.run(["echo", word]).stdout.decode()) == len(word) + 1


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=names.filter(lambda name: name not in (".", "..")), data=st.binary(max_size=300))
def test_a_file_of_any_name_goes_there_and_back(
    device: ShellDevice, tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes
) -> None:
    here = tmp_path_factory.mktemp("files")
    (here / "source").write_bytes(data)
    with device.tmpdir() as folder:
        device.push(here / "source", f"{folder}/{name}")
        device.pull(f"{folder}/{name}", here / "back")
        listed = device.run(
            [
                "sh",
                "-c",
                'cd "$1" && for file in * .[!.]* ..?*; do [ -e "$file" ] && printf "%s\\0" "$file"; done',
                "sh",
                folder,
            ]
        )
        assert listed.stdout == os.fsencode(name) + b"\0"
    assert (here / "back").read_bytes() == data
    assert {path.name for path in here.iterdir()} == {"source", "back"}


def test_a_large_file_and_its_permissions_go_along(device: ShellDevice, tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    (tmp_path / "program").write_bytes(data)
    (tmp_path / "program").chmod(0o700)
    with device.tmpdir() as folder:
        device.push(tmp_path / "program", f"{folder}/program")
        device.push(tmp_path / "program", f"{folder}/program")
        assert device.run(["test", "-x", f"{folder}/program"]).status == 0
        device.pull(f"{folder}/program", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


def test_programs_may_be_executed_in_a_temporary_folder_which_goes_at_the_end(device: ShellDevice) -> None:
    with device.tmpdir() as folder, device.tmpdir() as other:
        assert folder != other
        checked(
            device,
            ["sh", "-c", 'printf "#!%s\\necho ran\\n" "$(command -v sh)" >"$1/x"; chmod 700 "$1/x"', "sh", folder],
        )
        assert device.run([f"{folder}/x"]).stdout == b"ran\n"
        checked(device, ["sh", "-c", 'mkdir "$1/locked" && touch "$1/locked/x" && chmod 0 "$1/locked"', "sh", folder])
    assert device.run(["test", "-e", folder]).status == 1


def test_an_error_inside_a_temporary_folder_removes_it_and_is_the_one_reported(device: ShellDevice) -> None:
    with pytest.raises(KeyError), device.tmpdir() as folder:
        raise KeyError
    assert device.run(["test", "-e", folder]).status == 1


def test_a_command_that_takes_too_long_is_stopped_soon(device: ShellDevice) -> None:
    device.run(["true"])
    start = time.monotonic()
    with pytest.raises(states.TimedOutError):
        device.run(["sleep", "60"], timeout=1)
    assert time.monotonic() - start < 10


def test_a_command_that_hangs_is_stopped_with_its_children(device: ShellDevice, mark: str) -> None:
    with leaves_nothing(device), pytest.raises(states.TimedOutError):
        device.run(["sh", "-c", f"trap '' TERM; sleep {mark} & sleep {mark}"], timeout=1)
    assert ended(mark)


def test_what_a_command_leaves_behind_ends_with_it(device: ShellDevice, mark: str) -> None:
    assert device.run(["sh", "-c", f"sleep {mark} & echo started"]).stdout == b"started\n"
    assert ended(mark)


def test_a_flood_of_output_is_stopped(device: ShellDevice, mark: str) -> None:
    with pytest.raises(states.CommandError, match="wrote more"):
        device.run(["sh", "-c", f"cat /dev/zero; sleep {mark}"])
    assert ended(mark)


def test_a_command_ends_when_pamc_is_killed(device: ShellDevice, mark: str) -> None:
    code = "import sys; from pamc_devices.find import open_device; open_device(sys.argv[1]).run(['sleep', sys.argv[2]])"
    pamc = subprocess.Popen([sys.executable, "-c", code, device.url, mark])
    wait_until_started(mark)
    pamc.kill()
    pamc.wait()
    assert ended(mark)


def test_an_interrupted_command_ends_on_the_device(device: ShellDevice, mark: str) -> None:
    code = (
        "import sys; from pamc_devices.find import opened\n"
        "with opened(sys.argv[1]) as device: device.run(['sleep', sys.argv[2]])"
    )
    pamc = subprocess.Popen([sys.executable, "-c", code, device.url, mark], stderr=subprocess.DEVNULL)
    wait_until_started(mark)
    pamc.send_signal(signal.SIGINT)
    assert pamc.wait(20) != 0
    assert ended(mark)


def test_commands_may_run_at_the_same_time(device: ShellDevice) -> None:
    device.run(["true"])
    said: list[bytes] = []
    threads = [
        threading.Thread(target=lambda i=i: said.append(device.run(["sh", "-c", f"sleep 0.2; echo {i}"]).stdout))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [b"0\n", b"1\n", b"2\n", b"3\n"]


def test_a_device_works_again_after_it_was_closed(device: ShellDevice) -> None:
    device.run(["true"])
    device.close()
    device.close()
    assert device.run(["echo", "x"]).stdout == b"x\n"


@pytest.mark.parametrize("target", ["relative", "/folder/", ""])
def test_a_path_that_is_not_absolute_is_refused(device: ShellDevice, tmp_path: Path, target: str) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(ConfigError):
        device.push(tmp_path / "x", target)
    with pytest.raises(ConfigError):
        device.pull(target, tmp_path / "y")


def test_transfers_that_cannot_be_leave_nothing(device: ShellDevice, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"new")
    with device.tmpdir() as folder:
        checked(device, ["mkdir", f"{folder}/taken"])
        for target in (f"{folder}/taken", f"{folder}/none/x"):
            with pytest.raises(states.CommandError):
                device.push(tmp_path / "x", target)
        for source in (f"{folder}/taken", f"{folder}/none"):
            with pytest.raises(states.CommandError):
                device.pull(source, tmp_path / "y")
        with pytest.raises(states.CommandError):
            device.push(tmp_path / "none", f"{folder}/x")
        with pytest.raises(states.CommandError):
            device.pull("/proc/version", tmp_path / "none" / "y")
        left = device.run(["sh", "-c", 'cd "$1"; echo * taken/*', "sh", folder]).stdout
    assert left == b"taken taken/*\n"
    assert [path.name for path in tmp_path.iterdir() if path.name != "home of pamc"] == ["x"]


def test_a_file_that_is_cut_off_on_the_way_does_not_take_the_place_of_another(device: ShellDevice) -> None:
    with device.tmpdir() as folder:
        checked(device, ["sh", "-c", 'echo old >"$1/x"', "sh", folder])
        settings = {"size": "100", "mode": "600", "part": f"{folder}/x.part"}
        answer = device._ask("store.sh", [f"{folder}/x"], settings, feed=iter([b"only this"]), timeout=30)
        assert answer.result is not None and answer.result.status != 0 and "cut off" in answer.said
        assert device.run(["sh", "-c", 'cd "$1"; echo *; cat x', "sh", folder]).stdout == b"x\nold\n"


def test_a_program_for_another_processor_is_known(device: ShellDevice, tmp_path: Path) -> None:
    (tmp_path / "foreign").write_bytes(FOREIGN)
    (tmp_path / "foreign").chmod(0o755)
    with device.tmpdir() as folder:
        device.push(tmp_path / "foreign", f"{folder}/foreign")
        argv = [f"{folder}/foreign"]
        result = device.run(argv)
    assert type(failure(argv, result, device.url)) is states.WrongArchitectureError


def test_a_full_disk(board: str, at: At, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    with opened(at(board, "/mnt/tiny")) as device:

        def listed() -> list[bytes]:
            return sorted(checked(device, ["find", "/mnt/tiny"]).stdout.splitlines())

        # Other tests use this disk too.
        before = listed()
        with pytest.raises(states.NoSpaceError):
            device.push(tmp_path / "big", "/mnt/tiny/big")
        assert listed() == before


@pytest.mark.parametrize("folder", ["/mnt/readonly/pamc", "/nobody/pamc"])
def test_a_folder_that_cannot_be_written(board: str, at: At, folder: str) -> None:
    with opened(at(board, folder)) as device, pytest.raises(states.ReadOnlyError) as caught:
        device.home()
    assert caught.value.cure


def test_a_folder_without_the_right_to_run_programs(board: str, at: At) -> None:
    with opened(at(board, "/mnt/noexec")) as device, device.tmpdir() as folder:
        checked(device, ["sh", "-c", 'printf "#!/bin/sh\\n" >"$1/x" && chmod 700 "$1/x"', "sh", folder])
        argv = [f"{folder}/x"]
        error = failure(argv, device.run(argv), device.url)
    assert type(error) is states.CommandError
    assert "noexec" in str(error)


def test_no_room_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    (tmp_path / "tiny").mkdir()
    script = 'mount -t tmpfs -o size=64k none "$1/tiny" && "$2" -c "$3" "$1"; ls "$1/tiny"'
    code = (
        "import sys; from pathlib import Path; from pamc_devices.find import open_device; here = Path(sys.argv[1])\n"
        "try: open_device(f'local://{here}/home').pull(f'{here}/big', here / 'tiny' / 'big')\n"
        "except Exception as error: print(type(error).__name__)"
    )
    shell = ["sh", "-c", script, "sh", str(tmp_path), sys.executable, code]
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", *shell], capture_output=True, check=True)
    assert done.stdout == b"NoSpaceError\n"
