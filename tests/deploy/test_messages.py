"""What a runner says is taken whole or not at all."""

from __future__ import annotations

import json

import pytest

from pamc.errors import PamcError, VerificationError
from pamc_devices.base import Result
from pamc_devices.messages import (
    Checked,
    End,
    Failure,
    Info,
    Loaded,
    Memory,
    Output,
    Samples,
    Warm,
    raise_failure,
    read_lines,
)
from pamc_devices.states import CommandError, DamagedError, MissingRuntimeError

INFO = {"runner": "0.1.0", "runtime": "onnxruntime", "runtime_version": "1.31.1", "machine": "aarch64", "cpus": 4}
LOADED = {"task_set": "a+b", "load_ns": 10, "first_ns": 20}
WARM = {"runs": 5, "ns": 50, "steady": True}
SAMPLES = {"task_set": "a+b", "start_ns": [0, 10, 20], "ns": [10, 9, 10]}
MEMORY = {"vm_hwm_kib": 20, "vm_rss_kib": 10}
OUTPUT = {"task": "a", "shape": [1, 10], "file": "a.bin"}
CHECKED = {"task_set": "a+b", "task": "a", "error": 1.2e-7, "limit": 1e-4, "ok": True}
ERROR = {"what": "the file cannot be read", "why": "it is\x1b[31m not there"}
ANSWER = (
    ("info", INFO),
    ("loaded", LOADED),
    ("warm", WARM),
    ("samples", SAMPLES),
    ("samples", {**SAMPLES, "start_ns": [30, 41], "ns": [11, 10]}),
    ("memory", MEMORY),
    ("output", OUTPUT),
    ("checked", CHECKED),
)


def result(*lines: tuple[str, dict[str, object]], status: int = 0, **end: object) -> Result:
    """A runner's answer with a right last line, unless ``end`` says another."""
    said = [*lines, ("end", {"lines": len(lines), "status": status, **end})]
    text = "".join(json.dumps({"kind": kind, **data}) + "\n" for kind, data in said)
    return Result(status, text.encode(), b"")


def test_a_whole_answer_is_read() -> None:
    assert read_lines(result(*ANSWER)) == (
        Info("0.1.0", "onnxruntime", "1.31.1", "aarch64", 4),
        Loaded("a+b", 10, 20),
        Warm(5, 50, True),
        Samples("a+b", (0, 10, 20), (10, 9, 10)),
        Samples("a+b", (30, 41), (11, 10)),
        Memory(20, 10),
        Output("a", (1, 10), "a.bin"),
        Checked("a+b", "a", 1.2e-7, 1e-4, True),
        End(8, 0),
    )


def test_every_answer_that_is_cut_off_is_damaged() -> None:
    whole = result(*ANSWER).stdout
    for length in range(len(whole)):
        with pytest.raises(DamagedError, match="cut off or garbled"):
            read_lines(Result(0, whole[:length], b""))
    for status in (0, -9, 137):
        with pytest.raises(DamagedError, match=r"last words: Killed\?\[31m"):
            read_lines(Result(status, whole[:-1], b"Killed\x1b[31m\n"))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("info", {**INFO, "cpus": 0}),
        ("info", {**INFO, "cpus": True}),
        ("info", {**INFO, "cpus": 4.0}),
        ("info", {**INFO, "more": 1}),
        ("info", {name: value for name, value in INFO.items() if name != "machine"}),
        ("speed", INFO),
        ("end", {"lines": 0, "status": 0}),
        ("loaded", {**LOADED, "load_ns": -1}),
        ("loaded", {**LOADED, "first_ns": 2**63}),
        ("loaded", {**LOADED, "task_set": "a+../b"}),
        ("loaded", {**LOADED, "task_set": "a+b\n"}),
        ("warm", {**WARM, "steady": 1}),
        ("samples", {**SAMPLES, "ns": [10, -1, 10]}),
        ("samples", {**SAMPLES, "ns": [10, 11, 10]}),
        ("samples", {**SAMPLES, "ns": [10, 9]}),
        ("samples", {**SAMPLES, "ns": [], "start_ns": []}),
        ("samples", {**SAMPLES, "ns": [10, None, 10]}),
        ("samples", {**SAMPLES, "ns": "101"}),
        ("samples", {**SAMPLES, "start_ns": [5, 20, 40]}),
        ("samples", {**SAMPLES, "start_ns": [0, 20, 10]}),
        ("memory", {"vm_hwm_kib": 10, "vm_rss_kib": 20}),
        ("output", {**OUTPUT, "file": "../a.bin"}),
        ("output", {**OUTPUT, "shape": [1, -10]}),
        ("output", {**OUTPUT, "task": "a+b", "file": "a+b.bin"}),
        ("checked", {**CHECKED, "error": float("nan")}),
        ("checked", {**CHECKED, "error": float("inf")}),
        ("checked", {**CHECKED, "error": -1e-9}),
        ("checked", {**CHECKED, "error": 10**400}),
        ("checked", {**CHECKED, "error": 1e-3}),
        ("checked", {**CHECKED, "error": None}),
        ("checked", {**CHECKED, "ok": False}),
        ("checked", {**CHECKED, "ok": False, "error": 1e-3}),
        ("error", ERROR),
    ],
)
def test_a_line_that_cannot_be_true_voids_the_answer(kind: str, data: dict[str, object]) -> None:
    with pytest.raises(DamagedError):
        read_lines(result(("info", INFO), (kind, data)))


@pytest.mark.parametrize("line", ["", "{", "[]", "null", "1", '{"kind": 1}', '{"kind": {}}', "[" * 100_000, "\x00"])
def test_what_is_no_object_of_a_known_kind_is_damaged(line: str) -> None:
    with pytest.raises(DamagedError):
        read_lines(Result(0, f'{line}\n{{"kind":"end","lines":1,"status":0}}\n'.encode(), b""))


def test_a_key_must_not_be_there_twice() -> None:
    with pytest.raises(DamagedError, match="a key is there twice"):
        read_lines(Result(0, b'{"kind":"end","lines":9,"lines":0,"status":0}\n', b""))


def test_bytes_that_are_no_text_are_damaged() -> None:
    with pytest.raises(DamagedError):
        read_lines(Result(0, b'\xff\n{"kind":"end","lines":1,"status":0}\n', b""))


def test_lines_must_not_contradict_each_other() -> None:
    late = ("samples", {**SAMPLES, "start_ns": [29, 41], "ns": [11, 10]})
    for lines, why in (
        ([("samples", SAMPLES), late], "the clock went backwards"),
        ([("checked", CHECKED), ("checked", CHECKED)], "an output was checked twice"),
        ([("output", OUTPUT), ("output", OUTPUT)], "an output is there twice"),
    ):
        with pytest.raises(DamagedError, match=why):
            read_lines(result(*lines))


def test_the_last_line_must_be_true() -> None:
    for answer, why in (
        (result(("info", INFO), lines=2), "2 lines were written, 1 arrived"),
        (result(("info", INFO), lines=True), "lines is not of the type int"),
        (Result(1, result(("info", INFO)).stdout, b""), "it announced status 0; exit status 1"),
        (Result(0, result(("info", INFO)).stdout * 2, b""), "the line 'end' is not there, or not the last one"),
        (Result(0, b"", b""), "the last line is cut off"),
    ):
        with pytest.raises(DamagedError, match=why):
            read_lines(answer)


WRONG = ("checked", {**CHECKED, "error": 0.5, "ok": False})
ENDLESS = ("checked", {**CHECKED, "task": "b", "error": None, "ok": False})


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (
            result(WRONG, ENDLESS, status=4),
            VerificationError,
            r"task set a\+b: a is off by 0\.5, limit 0\.0001; task set a\+b: b is not finite",
        ),
        (result(("error", ERROR), status=5), MissingRuntimeError, r"the file cannot be read: it is\?\[31m not there"),
        (result(("error", ERROR), status=74), DamagedError, "the file cannot be read"),
        (result(("error", ERROR), status=2), CommandError, "the runner ended with status 2"),
        (result(status=139), CommandError, "the runner ended with status 139"),
    ],
)
def test_each_status_has_its_error(answer: Result, kind: type[PamcError], why: str) -> None:
    messages = read_lines(answer)
    with pytest.raises(kind, match=why) as caught:
        raise_failure(messages, "ssh://pi@board")
    assert caught.value.where == "ssh://pi@board"
    assert "\x1b" not in str(caught.value)


def test_success_raises_nothing() -> None:
    raise_failure(read_lines(result(("checked", CHECKED))), "here")
    assert Failure.KIND == "error"
