"""What every runner does alike, in C and in Python: commands, lines, statuses, answers."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pamc
from pamc.bundle import Bundle, open_bundle
from pamc_devices.messages import Checked, End, Failure, Info, Loaded, Memory, Output, Samples, Warm
from pamc_devices.runner import bare_manifest
from tests.builds.kinds import EMITTED
from tests.runner.commands import RUNNERS, Runner, make_runner

SHORT = ("--min-seconds", "0", "--warmup-seconds", "0", "--warmup-max-seconds", "0")
KINDS = ("none", "fp16", "int8")


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest, builds: Mapping[str, Path], library: Path) -> Runner:
    return make_runner(request.param, builds, library)


@pytest.fixture
def copy(bundles: Mapping[str, Bundle], tmp_path: Path) -> Path:
    """A bundle to damage."""
    return shutil.copytree(bundles["none"].path, tmp_path / "copy")


def failure(runner: Runner, status: int, name: str, *arguments: str | Path) -> Failure:
    """What a command that must fail says about it."""
    *_, said, end = runner.lines(name, *arguments)
    assert isinstance(said, Failure) and isinstance(end, End)
    assert end.status == status, said
    return said


def edit(folder: Path, key: str, value: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def test_info(runner: Runner) -> None:
    info, end = runner.lines("info")
    assert isinstance(info, Info) and end == End(1, 0)
    assert info.runtime == ("litert" if runner.format == "tflite" else "onnxruntime")
    assert info.runtime_version[0].isdigit()
    assert (info.machine, info.cpus) == (platform.machine(), len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_selftest_finds_every_task_set_right(kind: str, runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    *checked, end = runner.lines("selftest", bundles[kind].path)
    assert isinstance(end, End) and end.status == 0
    found = [(line.task_set, line.task) for line in checked if isinstance(line, Checked) and line.ok]
    assert found == [(text, task) for text in EMITTED for task in text.split("+")]
    if kind != "int8":
        assert all(line.limit == 1e-4 for line in checked if isinstance(line, Checked))


def test_where_rounding_does_more_the_builds_own_error_counts(runner: Runner, copy: Path) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    for check in manifest["verification"]:
        check["max_abs"] = 1000.0
    path.write_text(json.dumps(manifest))
    *checked, _ = runner.lines("selftest", copy)
    assert all(line.limit > 1 for line in checked if isinstance(line, Checked))


def test_the_smallest_manifest_holds_what_is_read_and_nothing_else(runner: Runner, copy: Path) -> None:
    manifest = open_bundle(copy).manifest
    outputs = {entry.name: entry.shape for entry in manifest.tasks}
    both = "+".join(outputs)
    text = bare_manifest(manifest.input.shape, manifest.input.dtype, outputs, manifest.task_sets[both].files)
    (copy / "manifest.json").write_text(text)
    *checked, end = runner.lines("selftest", copy)
    assert isinstance(end, End) and end.status == 0
    assert [(line.task_set, line.task) for line in checked if isinstance(line, Checked)] == [(both, t) for t in outputs]
    members = json.loads(text)
    for name in members:
        (copy / "manifest.json").write_text(json.dumps({key: members[key] for key in members if key != name}))
        assert "is damaged" in failure(runner, 74, "selftest", copy).what


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_the_product(
    kind: str, runner: Runner, bundles: Mapping[str, Bundle], tmp_path: Path
) -> None:
    bundle = bundles[kind]
    loaded = pamc.load(bundle.path, format=runner.format)
    for number, text in enumerate(EMITTED):
        x = np.asarray(bundle.vectors["input"])[number]
        (tmp_path / "x.bin").write_bytes(x.tobytes())
        asked = "+".join(reversed(text.split("+")))
        *outputs, end = runner.lines(
            "run", bundle.path, "--tasks", asked, "--input", tmp_path / "x.bin", "--output", tmp_path / "y"
        )
        assert end == End(len(outputs), 0)
        assert [line.task for line in outputs if isinstance(line, Output)] == text.split("+")
        for task, wanted in loaded.run(x, tasks=text.split("+")).items():
            found = np.fromfile(tmp_path / "y" / f"{task}.bin", "<f4")
            assert np.abs(found - wanted.ravel()).max() <= 1e-4 * np.abs(wanted).max()
    assert sorted(path.name for path in (tmp_path / "y").iterdir()) == ["digit.bin", "parity.bin"]


def test_bench_keeps_every_time(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    lines = runner.lines(
        "bench", bundles["none"].path, "--tasks", "digit", *SHORT, "--min-runs", "5000", "--warmup-runs", "7"
    )
    loaded, warm, *samples, memory, end = lines
    assert isinstance(loaded, Loaded) and loaded.load_ns > 0 and loaded.first_ns > 0
    assert isinstance(warm, Warm) and warm.runs == 7 and not warm.steady
    assert sum(len(line.ns) for line in samples if isinstance(line, Samples)) == 5000
    assert len(samples) == 2, "a line has at most 4096 times"
    assert isinstance(memory, Memory) and memory.vm_hwm_kib > 10_000
    assert isinstance(end, End) and end.status == 0


def test_bench_ends_when_its_time_is_up_and_not_before_its_least(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    folder = bundles["none"].path
    for options, least, most in (
        (("--min-runs", "1", "--min-seconds", "0.3"), 0.3, 5.0),
        (("--min-runs", "9999999", "--max-seconds", "0.2"), 0.2, 5.0),
    ):
        lines = runner.lines("bench", folder, "--tasks", "digit", *SHORT[2:], *options)
        samples = [line for line in lines if isinstance(line, Samples)]
        seconds = (samples[-1].start_ns[-1] + samples[-1].ns[-1]) / 1e9
        # The look at the clock that ends it comes after the last sample.
        assert least - 0.01 <= seconds < most


def test_warm_up_goes_on_until_times_are_steady(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    options = ("--min-runs", "1", "--min-seconds", "0", "--warmup-runs", "1", "--warmup-seconds", "0")
    lines = runner.lines("bench", bundles["none"].path, "--tasks", "digit", *options)
    (warm,) = (line for line in lines if isinstance(line, Warm))
    assert warm.steady and warm.runs >= 20 and warm.runs % 10 == 0


def test_bench_keeps_to_the_processors_asked_for(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    allowed = min(os.sched_getaffinity(0))
    arguments = ("bench", bundles["none"].path, "--tasks", "digit", *SHORT, "--min-runs", "1", "--cpus")
    assert runner.run(*arguments, str(allowed)).status == 0
    for text in ("1023", "0-1023", "3-1", "a", "", "0,", "99999999999999999999"):
        assert failure(runner, 2, *arguments, text).what


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help-me",),
        ("digit",),
        ("--tasks", "digit", "--threads", "0"),
        ("--tasks", "digit", "--threads", "-1"),
        ("--tasks", "digit", "--threads", "1x"),
        ("--tasks", "digit", "--min-seconds", "nan"),
        ("--tasks", "digit", "--max-seconds", "-3"),
        ("--tasks", "digit", "--min-runs", "99999999999999999999"),
        ("--tasks", "digit", "--output", "x"),
        ("--tasks", "nobody"),
        ("--tasks", "digit+digit"),
        ("--tasks", "digit+"),
        ("--tasks", ""),
        ("--tasks", "digit", "--tasks", "digit"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    assert failure(runner, 2, "bench", bundles["none"].path, *arguments).what


def test_an_input_of_another_size(runner: Runner, bundles: Mapping[str, Bundle], tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(17))
    said = failure(
        runner, 2, "run", bundles["none"].path, "--tasks", "digit", "--input", tmp_path / "x.bin", "--output", tmp_path
    )
    assert "17 bytes" in said.what
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_a_task_set_without_a_network(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    assert "parity" in failure(runner, 74, "selftest", bundles["none"].path, "--tasks", "parity").what


def test_selftest_takes_the_task_sets_that_are_there(runner: Runner, copy: Path) -> None:
    for name in ("onnx/digit.onnx", "tflite/model.tflite"):
        (copy / name).unlink()
    if runner.format == "tflite":
        assert "no networks" in failure(runner, 74, "selftest", copy).what
        return
    found = {line.task_set for line in runner.lines("selftest", copy) if isinstance(line, Checked)}
    assert found == {"digit+parity"}


@pytest.mark.parametrize("value", [0.01, float("nan"), float("inf")])
def test_a_wrong_answer_is_status_4(value: float, runner: Runner, copy: Path) -> None:
    vectors = load_file(copy / "vectors.safetensors")
    vectors["output:parity"] = vectors["output:parity"] + np.float32(value)
    save_file(vectors, copy / "vectors.safetensors")
    *checked, end = runner.lines("selftest", copy)
    assert isinstance(end, End) and end.status == 4
    found = {(line.task_set, line.task): line.ok for line in checked if isinstance(line, Checked)}
    assert found == {("digit", "digit"): True, ("digit+parity", "digit"): True, ("digit+parity", "parity"): False}


def test_a_wrong_int8_channel_is_status_4(runner: Runner, bundles: Mapping[str, Bundle], tmp_path: Path) -> None:
    folder = shutil.copytree(bundles["int8"].path, tmp_path / "copy")
    vectors = load_file(folder / "vectors.safetensors")
    vectors["output:digit"] = np.roll(vectors["output:digit"], 1, axis=1)
    save_file(vectors, folder / "vectors.safetensors")
    assert runner.run("selftest", folder).status == 4


@pytest.mark.parametrize(
    "name", ["manifest.json", "vectors.safetensors", "onnx/digit.onnx", "onnx/weights.bin", "tflite/model.tflite"]
)
@pytest.mark.parametrize("how", ["cut", "missing", "folder"])
def test_damaged_files_are_status_74(name: str, how: str, runner: Runner, copy: Path) -> None:
    if name.split("/")[0] in {"onnx", "tflite"} - {runner.format}:
        pytest.skip("this runner does not read that file")
    path = copy / name
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    if how == "folder":
        path.mkdir()
    assert failure(runner, 74, "selftest", copy, "--tasks", "digit").what


@pytest.mark.parametrize("name", ["../digit", "/etc/passwd", "a b", "a/b", "", "é", "x" * 33, "\n"])
def test_a_hostile_task_name(name: str, runner: Runner, copy: Path) -> None:
    tasks = json.loads((copy / "manifest.json").read_text())["tasks"]
    edit(copy, "tasks", [{**tasks[0], "name": name}, *tasks[1:]])
    edit(copy, "task_sets", {})
    assert failure(runner, 74, "selftest", copy).what


@pytest.mark.parametrize("file", ["onnx/../../outside.onnx", "onnx//digit.onnx", "onnx/./digit.onnx", "onnx/a\\b.onnx"])
def test_a_hostile_file_name(file: str, builds: Mapping[str, Path], library: Path, copy: Path) -> None:
    # A whole network out there, so that nothing but the check of names stands against it.
    shutil.copyfile(copy / "onnx" / "digit.onnx", copy.parent / "outside.onnx")
    shutil.copyfile(copy / "onnx" / "weights.bin", copy.parent / "weights.bin")
    sets = json.loads((copy / "manifest.json").read_text())["task_sets"]
    edit(copy, "task_sets", {"digit": {**sets["digit"], "files": [file]}})
    for kind in ("c", "python"):
        assert failure(make_runner(kind, builds, library), 74, "selftest", copy).what


def test_a_full_disk_or_a_reader_that_left_is_status_74(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    with Path("/dev/full").open("wb") as full, runner.start("selftest", bundles["none"].path, stdout=full) as process:
        assert process.wait(60) == 74
    with runner.start("selftest", bundles["none"].path) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(60) == 74


def test_an_output_that_cannot_be_written(runner: Runner, bundles: Mapping[str, Bundle], tmp_path: Path) -> None:
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "digit.bin").mkdir()
    (tmp_path / "x.bin").write_bytes(np.asarray(bundles["none"].vectors["input"])[0].tobytes())
    arguments = ("--tasks", "digit", "--input", tmp_path / "x.bin", "--output", tmp_path / "y")
    assert failure(runner, 74, "run", bundles["none"].path, *arguments).what
    shutil.rmtree(tmp_path / "y")
    (tmp_path / "y").touch()
    assert failure(runner, 74, "run", bundles["none"].path, *arguments).what


def test_a_signal_ends_it_cleanly(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    options = ("--tasks", "digit", "--min-seconds", "60", "--warmup-seconds", "0", "--warmup-max-seconds", "0")
    with runner.start("bench", bundles["none"].path, *options, bufsize=0) as process:
        assert process.stdout
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert json.loads(first)["kind"] == "loaded"
    kinds = [json.loads(line) for line in rest.splitlines()]
    assert process.returncode == 143
    assert kinds[-1] == {"kind": "end", "lines": len(kinds), "status": 143}
    assert not any(line["kind"] == "samples" for line in kinds)


@pytest.fixture(scope="module")
def backwards(cc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that turns the clock back by a second at its 40th reading."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(
        """
        #define _GNU_SOURCE
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        static int readings;
        int clock_gettime(clockid_t id, struct timespec *time) {
          int result = (int)syscall(SYS_clock_gettime, id, time);
          if (id == CLOCK_MONOTONIC_RAW && ++readings == 40) time->tv_sec -= 1;
          return result;
        }
        """
    )
    subprocess.run([cc, "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c"], check=True)
    return folder / "clock.so"


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_clock_that_goes_backwards_gives_no_times(
    kind: str, backwards: Path, builds: Mapping[str, Path], library: Path, bundles: Mapping[str, Bundle]
) -> None:
    runner = make_runner(kind, builds, library, LD_PRELOAD=str(backwards))
    options = ("--tasks", "digit", *SHORT, "--min-runs", "1000")
    said = failure(runner, 5, "bench", bundles["none"].path, *options)
    assert "backwards" in said.what


def test_no_runtime_is_status_5(builds: Mapping[str, Path], bundles: Mapping[str, Bundle], tmp_path: Path) -> None:
    alone = tmp_path / "pamc-runner"
    shutil.copyfile(builds["linux-x86_64"], alone)
    alone.chmod(0o755)
    runner = Runner((str(alone),), (), "onnx", {"PAMC_ORT": ""})
    info, said, end = runner.lines("info")
    assert isinstance(info, Info) and info.runtime_version == ""
    assert isinstance(said, Failure) and "libonnxruntime.so" in said.what and end == End(2, 5)
    assert failure(runner, 5, "selftest", bundles["none"].path).why
    other = Runner((str(alone),), ("--ort", "libc.so.6"), "onnx")
    assert "is not ONNX Runtime" in failure(other, 5, "selftest", bundles["none"].path).what


def test_the_library_is_found_by_the_environment_or_beside_the_runner(
    builds: Mapping[str, Path], library: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "pamc-runner"
    shutil.copyfile(builds["linux-x86_64"], alone)
    alone.chmod(0o755)
    assert Runner((str(alone),), (), "onnx", {"PAMC_ORT": str(library)}).run("info").status == 0
    (tmp_path / "libonnxruntime.so").symlink_to(library)
    assert Runner((str(alone),), (), "onnx", {"PAMC_ORT": ""}).run("info").status == 0
