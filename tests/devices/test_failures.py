import pytest

from pamc.errors import DeviceError
from pamc_devices import states
from pamc_devices.base import Result
from pamc_devices.failures import failure, last_words

# Messages as GNU, busybox, toybox, mksh, dash, glibc and bionic write them.
SEEN = [
    (1, "head: error writing 'standard output': No space left on device", states.NoSpaceError),
    (1, "head: -: No space left on device", states.NoSpaceError),
    (1, "mkdir: cannot create directory '/mnt/x': Read-only file system", states.ReadOnlyError),
    (1, "mkdir: '/srv/x': Permission denied", states.ReadOnlyError),
    (126, "sh: 1: exec: ./run: Exec format error", states.WrongArchitectureError),
    (127, "./run: line 1: \x7fELF\x02\x01: not found", states.WrongArchitectureError),
    (1, "/system/bin/sh: /data/local./run: not executable: 64-bit ELF file", states.WrongArchitectureError),
    (1, '"/data/local./run" has unexpected e_machine: 62 (EM_X86_64)', states.WrongArchitectureError),
    (1, 'error: "./run": "libc.so.6" is 64-bit instead of 32-bit', states.WrongArchitectureError),
    (1, "CANNOT LINK EXECUTABLE \"./run\": library \"libonnxruntime.so\" not found", states.MissingRuntimeError),
    (127, "error while loading shared libraries: x.so: cannot open shared object file", states.MissingRuntimeError),
    (1, "./run: /lib/libc.so.6: version `GLIBC_2.34' not found (required by ./run)", states.MissingRuntimeError),
    (1, "ModuleNotFoundError: No module named 'numpy'", states.MissingRuntimeError),
    (127, "sh: 1: exec: python3: not found", states.MissingRuntimeError),
    (255, "qemu: Could not open '/system/bin/linker64': No such file or directory", states.MissingRuntimeError),
    (126, "sh: 1: exec: /mnt/noexec/run: Permission denied", states.CommandError),
    (132, "", states.WrongArchitectureError),
    (137, "", states.CommandError),
    (139, "", states.CommandError),
    (3, "something else", states.CommandError),
]  # fmt: skip


@pytest.mark.parametrize(("status", "text", "state"), SEEN)
def test_a_failure_is_known_by_its_status_and_words(status: int, text: str, state: type[DeviceError]) -> None:
    error = failure(["./run", "secret argument"], Result(status, b"", text.encode()), "ssh://board")
    assert type(error) is state
    assert error.where == "ssh://board"
    assert "secret" not in str(error)
    assert "\x7f" not in str(error)


def test_a_status_beyond_all_signals_is_no_signal() -> None:
    assert "signal 15" in str(failure(["x"], Result(143, b"", b""), "local"))
    assert "ended with status 255" in str(failure(["x"], Result(255, b"", b""), "local"))


def test_memory_that_ran_out_is_named() -> None:
    assert "memory" in str(failure(["x"], Result(137, b"", b""), "local"))


def test_last_words_are_one_short_printable_line() -> None:
    said = last_words("\x1b[31mfirst\n" + "x" * 1000 + "\nlast")
    assert said is not None
    assert said.startswith("...") and said.endswith("; last") and len(said) < 500
    assert last_words(" \n") is None
