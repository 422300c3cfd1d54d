import pytest
from hypothesis import given
from hypothesis import strategies as st

from pamc.errors import ConfigError
from pamc_devices.address import Address, parse_address
from pamc_devices.find import open_device, schemes

GOOD = {
    "local": Address("local"),
    "local:///srv/my pamc": Address("local", folder="/srv/my pamc"),
    "ssh://pi@board": Address("ssh", "pi", "board"),
    "ssh://pi@board:2222/mnt/ssd/": Address("ssh", "pi", "board", 2222, "/mnt/ssd"),
    "ssh://[fe80::1%eth0]:22": Address("ssh", "", "fe80::1%eth0", 22),
    "ssh://name@corp.com@10.0.0.7": Address("ssh", "name@corp.com", "10.0.0.7"),
    "adb://R58M123ABC": Address("adb", "", "R58M123ABC"),
    "adb://": Address("adb"),
    "adb://192.168.1.5:5555": Address("adb", "", "192.168.1.5", 5555),
    "adb://adb-2A1-xyz._adb-tls-connect._tcp": Address("adb", "", "adb-2A1-xyz._adb-tls-connect._tcp"),
    "emulated://rpi4": Address("emulated", "", "rpi4"),
}
BAD = (
    "",
    "://x",
    "pi@board",
    "board:22",
    "ssh:/board",
    "SSH://board",
    "ssh://-oProxyCommand=touch hacked",
    "ssh://-l@board",
    "ssh://pi@-board",
    "ssh://bo ard",
    "ssh://board;reboot",
    "ssh://$(reboot)",
    "ssh://board\nHost x",
    "ssh://board:0",
    "ssh://board:65536",
    "ssh://board:",
    "ssh://board:\N{FULLWIDTH DIGIT TWO}",
    "ssh://::1",
    "ssh://[::1",
    "ssh://[::1]22",
    "ssh://[nonsense]",
    "ssh://[::1%-x]",
    "ssh://board/../etc",
    "ssh://board/a\nb",
    "ssh://@board",
    "ssh://:22",
)


@pytest.mark.parametrize(("text", "address"), GOOD.items())
def test_an_address_is_read_and_written_back(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(address.url) == address


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert caught.value.cure


@given(st.text(max_size=30))
def test_no_host_or_user_can_become_an_option_or_a_word_of_a_shell(rest: str) -> None:
    try:
        address = parse_address(f"ssh://{rest}")
    except ConfigError:
        return
    for name in (address.user, address.host):
        assert not name.startswith("-")
        assert not set(name) & set(" \t\n\r\0;&|<>()$`\\\"'*?!#~={}")


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address("ssh://pi:secret@board")
    assert "secret" not in str(caught.value)


def test_the_drivers_that_come_with_pamc_are_found() -> None:
    assert set(schemes()) >= {"local", "ssh", "adb", "emulated"}


@pytest.mark.parametrize(("text", "hint"), [("shs://x", "did you mean 'ssh'"), ("abd://x", "did you mean 'adb'")])
def test_a_misspelt_kind_is_guessed(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        open_device(text)


@pytest.mark.parametrize("text", ["ssh", "ssh:///home", "local://board", "local://me@"])
def test_an_address_that_does_not_fit_its_kind_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        open_device(text)
