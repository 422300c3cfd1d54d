"""What can be wrong with a connection, against real servers, and that the next call connects again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pamc.errors import DeviceError
from pamc_devices import adb, ssh, states
from pamc_devices.address import parse_address
from pamc_devices.find import list_devices, open_device, opened
from pamc_devices.remote import ShellDevice
from tests.boards.adb import AdbBoard

At = Callable[[str, str], str]


def error_of(url: str) -> DeviceError:
    with opened(url) as device, pytest.raises(DeviceError) as caught:
        device.run(["true"])
    assert caught.value.where == device.url
    assert caught.value.cure
    return caught.value


@pytest.fixture
def board_device(board: str, at: At) -> Iterator[ShellDevice]:
    device = open_device(at(board, ""))
    assert isinstance(device, ShellDevice)
    yield device
    device.close()


def test_nothing_listens(board: str) -> None:
    assert type(error_of(f"{board}://127.0.0.1:1")) is states.AbsentError


def test_no_host_of_that_name() -> None:
    assert type(error_of("ssh://no-such-host.invalid")) is states.AbsentError


def test_no_device_of_that_serial_number(at: At) -> None:
    at("adb", "")
    assert type(error_of("adb://NOSUCHSERIAL")) is states.AbsentError


@pytest.mark.parametrize(("host", "words"), [("stranger", "ssh-copy-id"), ("changed", "ssh-keygen -R")])
def test_a_board_that_refuses_the_key_or_has_another_one(at: At, host: str, words: str) -> None:
    at("ssh", "")
    error = error_of(f"ssh://{host}")
    assert type(error) is states.UnauthorizedError
    assert words in str(error.cure)


def test_a_host_whose_key_is_not_known(at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at("ssh", "")
    text = Path(os.environ[ssh.CONFIG_VARIABLE]).read_text().replace("known_hosts", "none")
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv(ssh.CONFIG_VARIABLE, str(tmp_path / "config"))
    error = error_of("ssh://pamc-board")
    assert type(error) is states.UnauthorizedError
    assert "not known" in error.what


def test_a_broken_ssh_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("NoSuchOption yes\n")
    monkeypatch.setenv(ssh.CONFIG_VARIABLE, str(tmp_path / "config"))
    assert "configuration" in error_of("ssh://board").what


def test_a_phone_that_has_not_allowed_this_computer(
    secure_adb_board: AdbBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(secure_adb_board.server))
    error = error_of(secure_adb_board.url)
    assert type(error) is states.UnauthorizedError


def test_a_connection_that_is_cut_ends_the_command_and_the_next_call_connects_again(board_device: ShellDevice) -> None:
    board_device.run(["true"])

    def cut() -> None:
        time.sleep(1)
        if isinstance(board_device, ssh.SshDevice):
            assert board_device._master is not None
            os.killpg(board_device._master.pid, signal.SIGKILL)
        else:
            adb._adb([adb.adb_program(), "disconnect"])

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(states.LostError):
        board_device.run(["sleep", "60"])
    thread.join()
    assert board_device.run(["echo", "again"]).stdout == b"again\n"


def test_nothing_of_a_connection_is_left_on_this_machine(at: At) -> None:
    device = open_device(at("ssh", ""))
    assert isinstance(device, ssh.SshDevice)
    device.run(["true"])
    assert device._folder is not None and device._master is not None
    folder, master = Path(device._folder.name), device._master
    assert folder.stat().st_mode & 0o077 == 0
    device.close()
    assert not folder.exists()
    assert master.poll() is not None


def test_a_killed_pamc_leaves_nothing_of_its_connection(at: At) -> None:
    code = "import os, sys; from pamc_devices.find import open_device; device = open_device(sys.argv[1])\n"
    code += "device.run(['true']); os.kill(os.getpid(), 9)"
    url = at("ssh", "")
    # Not the folder of the test: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder}
        assert subprocess.run([sys.executable, "-c", code, url], env=environment, check=False).returncode == -9
        end = time.monotonic() + 20
        while os.listdir(folder) and time.monotonic() < end:
            time.sleep(0.1)
        assert os.listdir(folder) == []


def test_the_users_ssh_configuration_cannot_break_a_command(
    at: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at("ssh", "")
    text = Path(os.environ[ssh.CONFIG_VARIABLE]).read_text()
    (tmp_path / "config").write_text("Host *\n  RemoteCommand echo no\n  RequestTTY force\n  ControlMaster no\n" + text)
    monkeypatch.setenv(ssh.CONFIG_VARIABLE, str(tmp_path / "config"))
    with opened("ssh://pamc-board") as device:
        assert device.run(["printf", "%s", "x\n"]).stdout == b"x\n"


def test_hosts_of_the_ssh_configuration_and_phones_are_listed(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    at("ssh", "")
    url = at("adb", "")
    with opened(url) as device:
        device.run(["true"])
    found = {item.url: item for item in list_devices()}
    assert found["ssh://pamc-board"].state == "not asked"
    assert found[url].state == "ready"
    assert found["local"].state == "ready"


def test_a_machine_without_adb_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if find_spec("adbutils") is not None:
        pytest.skip("adbutils brings an adb of its own")
    monkeypatch.setenv("PATH", str(tmp_path))
    adb.adb_program.cache_clear()
    try:
        with pytest.raises(states.CommandError) as caught:
            adb.adb_program()
    finally:
        adb.adb_program.cache_clear()
    assert "pamc[adb]" in str(caught.value.cure)


SAID = [
    ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", states.UnauthorizedError),
    ("error: device still authorizing", states.UnauthorizedError),
    (
        "error: insufficient permissions for device: user in plugdev group; are your udev rules wrong?",
        states.UnauthorizedError,
    ),
    ("error: device offline", states.OfflineError),
    ("error: more than one device/emulator", states.AbsentError),
    ("error: no devices/emulators found", states.AbsentError),
    ("error: device 'X' not found", states.AbsentError),
    ("failed to connect to '10.0.0.1:5555': No route to host", states.AbsentError),
    ("adb: failed to check server version: cannot connect to daemon", states.OfflineError),
    ("error: closed", states.OfflineError),
    ("something new", states.OfflineError),
]


@pytest.mark.parametrize(("text", "state"), SAID)
def test_states_of_adb_are_known_by_its_words(text: str, state: type[DeviceError]) -> None:
    assert type(adb.AdbDevice(parse_address("adb://X"))._refusal(text)) is state


SSH_SAID = [
    ("ssh: connect to host b port 22: No route to host", states.AbsentError),
    ("ssh: connect to host b port 22: Connection timed out", states.AbsentError),
    ("ssh: connect to host b port 22: Connection refused", states.AbsentError),
    ("kex_exchange_identification: Connection closed by remote host", states.OfflineError),
    ("Received disconnect from b: 2: Too many authentication failures", states.UnauthorizedError),
    ("This account is currently not available.", states.UnauthorizedError),
    ("something new", states.OfflineError),
]


@pytest.mark.parametrize(("text", "state"), SSH_SAID)
def test_states_of_ssh_are_known_by_its_words(text: str, state: type[DeviceError]) -> None:
    assert type(ssh.SshDevice(parse_address("ssh://b"))._refusal(text)) is state
