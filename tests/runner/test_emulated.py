"""The runners for Arm, run by QEMU over a board's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import pamc
from pamc.bundle import Bundle
from pamc_devices.boardfiles import BOARDS
from pamc_devices.messages import Checked, Failure, Info, Output, Samples
from pamc_devices.roots import ARM64, board_root, make_root, qemu_program
from pamc_devices.runner import PLATFORMS, fetch_onnxruntime
from pamc_devices.runner.fetch import WHEELS
from pamc_devices.states import MissingRuntimeError
from tests.boards.roots import ARMV7
from tests.builds.kinds import EMITTED
from tests.runner.commands import Runner


def qemu(architecture: str) -> str:
    try:
        return qemu_program(architecture)
    except MissingRuntimeError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.fixture(scope="module")
def runner(builds: Mapping[str, Path]) -> Runner:
    """The runner for aarch64 on a Raspberry Pi 4."""
    program, root = qemu("aarch64"), board_root("rpi4", BOARDS["rpi4"])
    library = fetch_onnxruntime(PLATFORMS["linux-aarch64"])
    command = (program, "-cpu", "cortex-a72", "-L", str(root), str(builds["linux-aarch64"]))
    return Runner(command, ("--ort", str(library)), "onnx")


def test_aarch64_answers_as_the_product(runner: Runner, bundles: Mapping[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["none"]
    checked = runner.lines("selftest", bundle.path)
    assert [line.task_set for line in checked if isinstance(line, Checked)] == [
        text for text in EMITTED for _ in text.split("+")
    ]
    x = np.asarray(bundle.vectors["input"])[0]
    (tmp_path / "x.bin").write_bytes(x.tobytes())
    for text in EMITTED:
        lines = runner.lines(
            "run", bundle.path, "--tasks", text, "--input", tmp_path / "x.bin", "--output", tmp_path / "y"
        )
        assert [line.task for line in lines if isinstance(line, Output)] == text.split("+")
        for task, wanted in pamc.load(bundle.path, format="onnx").run(x, tasks=text.split("+")).items():
            found = np.fromfile(tmp_path / "y" / f"{task}.bin", "<f4")
            assert np.abs(found - wanted.ravel()).max() <= 1e-4 * np.abs(wanted).max()


def test_aarch64_int8_passes_its_own_test(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    assert runner.run("selftest", bundles["int8"].path).status == 0


def test_aarch64_times_and_marks_its_runs(runner: Runner, bundles: Mapping[str, Bundle]) -> None:
    options = ("--min-runs", "5", "--min-seconds", "0", "--warmup-runs", "2", "--warmup-max-seconds", "0", "--marks")
    lines = runner.lines("bench", bundles["none"].path, "--tasks", "digit", *options)
    assert sum(len(line.ns) for line in lines if isinstance(line, Samples)) == 5


def test_armv7_starts(builds: Mapping[str, Path]) -> None:
    program, root = qemu("arm"), make_root(ARMV7)
    runner = Runner((program, "-L", str(root), str(builds["linux-armv7"])), (), "onnx", {"PAMC_ORT": ""})
    info, missing, _ = runner.lines("info")
    assert isinstance(info, Info) and info.machine.startswith("armv") and isinstance(missing, Failure)
    with pytest.raises(MissingRuntimeError, match="linux-armv7"):
        fetch_onnxruntime(PLATFORMS["linux-armv7"])


def test_boards_and_emulated_boards_have_the_same_onnx_runtime() -> None:
    assert WHEELS["linux-aarch64"].wheel in ARM64.wheels
