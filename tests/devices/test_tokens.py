from hypothesis import given
from hypothesis import strategies as st

from pamc_devices.base import Result
from pamc_devices.process import Exchange
from pamc_devices.tokens import After, read_answer

MARK = "0123456789abcdef" * 2
NOISE = b"Welcome to the board\n"
ERRORS = NOISE + MARK.encode() + b"\nsome words\n\n" + MARK.encode() + b" 3 ended\n"
OUTPUT = NOISE + MARK.encode() + b"\nthe output"


def answered(stderr: bytes, status: int = 0, stdout: bytes = OUTPUT) -> Result | None:
    return read_answer(Exchange(status, stdout, stderr, "ended"), MARK).result


def test_what_a_login_prints_is_cut_away() -> None:
    assert answered(ERRORS) == Result(3, b"the output", b"some words\n")


def test_no_answer_that_was_cut_off_counts() -> None:
    assert not any(answered(ERRORS[:end]) for end in range(len(ERRORS)))


def test_an_answer_does_not_count_when_the_transport_failed() -> None:
    assert answered(ERRORS, status=255) is None


def test_whether_a_command_started_is_known() -> None:
    assert not read_answer(Exchange(255, b"", NOISE, "ended"), MARK).started
    assert read_answer(Exchange(255, b"", ERRORS[:-20], "ended"), MARK).started


@given(st.binary(max_size=200))
def test_garbage_is_no_answer(data: bytes) -> None:
    assert answered(data, stdout=data) is None
    assert answered(MARK.encode() + b"\n" + data, stdout=data) is None


@given(st.lists(st.integers(min_value=1, max_value=20)))
def test_a_sink_gets_just_what_follows_the_token_however_it_is_cut(sizes: list[int]) -> None:
    kept = bytearray()
    sink = After(MARK, kept.extend)
    rest = OUTPUT + MARK.encode() + b"\nagain"
    for size in sizes:
        sink(rest[:size])
        rest = rest[size:]
    sink(rest)
    assert bytes(kept) == b"the output" + MARK.encode() + b"\nagain"
