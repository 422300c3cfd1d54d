import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pamc.errors import ConfigError
from pamc_devices.quoting import BOOTSTRAP, command_line, program

SHELLS = [name for name in ("dash", "bash", "busybox", "mksh", "fish", "tcsh") if shutil.which(name)]
SHOW = 'printf "%s\\0" "$setting" "$@"; cat'

words = st.binary(max_size=40).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
nasty = st.sampled_from(
    [
        *"\t\r ~*ß",
        "日本",
        "\udcff",
        "\x81\x88",
        "",
        "-n",
        "--",
        "\n",
        "\n\n",
        "'",
        '"',
        "\\",
        "\\n",
        "$(reboot)",
        "`id`",
        "${x}",
        "!!",
    ]
)


def shown(shell: str, line: bytes) -> bytes:
    login = [shell, "sh", "-c"] if shell == "busybox" else [shell, "-c"]
    return subprocess.run([*login, BOOTSTRAP], input=line + b"rest", capture_output=True, check=True).stdout


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(words | nasty, max_size=6), words | nasty)
def test_any_words_arrive_unchanged_whatever_the_login_shell(shell: str, args: list[str], setting: str) -> None:
    line = command_line(SHOW, args, {"setting": setting})
    assert line.count(b"\n") == 1
    assert shown(shell, line) == b"".join(os.fsencode(word) + b"\0" for word in (setting, *args)) + b"rest"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("letter", ["x", "'", "\n", "ß"])
def test_a_word_of_100_kb_arrives_unchanged(shell: str, letter: str) -> None:
    word = letter * (100_000 // len(letter.encode()))
    assert shown(shell, command_line('printf "%s" "$1"', [word])) == word.encode()


@pytest.mark.parametrize("bad", ["a\0b", "\0"])
def test_nul_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        command_line("true", [bad])


@pytest.mark.parametrize("name", ["", "a b", "1x", "x=y", "a;reboot", "ä"])
def test_a_name_that_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        program(["true"], {name: "x"})


@pytest.mark.parametrize("argv", [[], [""], ["-c"]])
def test_what_names_no_program_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigError):
        program(argv, {})
