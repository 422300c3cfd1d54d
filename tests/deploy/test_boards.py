"""Deploying to an arm64 "Raspberry Pi" over ssh and an "Android" phone over adb: every task set answers as PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from pamc.bundle import Bundle, open_bundle
from pamc.cli import cli
from pamc_devices.base import Device
from pamc_devices.deploy import Deployed, current, deploy
from pamc_devices.deployment import pack, task_sets_in
from pamc_devices.find import opened
from pamc_devices.inference import infer
from pamc_devices.lock import locked
from pamc_devices.probe import probe
from tests.boards.adb import program_over_glibc
from tests.boards.ssh import SshBoard
from tests.deploy.parts import digits_like
from tests.zoo.captured import captured

TASK_SETS = ("a", "b", "c", "a+b", "a+c", "b+c", "a+b+c")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(digits_like(tmp_path_factory.mktemp("digits") / "digits"))


@pytest.fixture(scope="module", params=["ssh", "adb"])
def board(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Each stand-in board."""
    with opened(request.getfixturevalue(f"{request.param}_board").url) as device:
        yield device


def deployed(device: Device, bundle: Bundle, runtime: str, task_sets: tuple[str, ...] = TASK_SETS) -> Deployed:
    program = program_over_glibc(probe(device), runtime)
    with locked(device, "tests", wait=300):
        outcome = deploy(device, pack(bundle, task_sets, program), prune=True)
    assert {(line.task_set, line.task) for line in outcome.checks} == {
        (text, task) for text in task_sets for task in text.split("+")
    }
    return outcome.deployed


def check_answers(there: Deployed, bundle: Bundle, task_sets: tuple[str, ...]) -> None:
    """Every task set against the PyTorch networks themselves."""
    sample = bundle.vectors["input"][0]
    for text in task_sets:
        found = infer(there, text, sample)
        assert list(found) == text.split("+")
        for task, values in found.items():
            module = captured("lenet", "abc".index(task))[0]
            with torch.no_grad():
                wanted = module(torch.from_numpy(sample[None].astype(np.float64)))[0].numpy()
            assert np.abs(values - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_the_bundle_has_every_task_set(bundle: Bundle) -> None:
    assert task_sets_in(bundle, "onnxruntime") == task_sets_in(bundle, "litert") == TASK_SETS


@pytest.mark.slow  # emulated processors
def test_every_task_set_answers_as_pytorch(board: Device, bundle: Bundle, tmp_path: Path) -> None:
    there = deployed(board, bundle, "onnxruntime")
    check_answers(there, bundle, TASK_SETS)
    assert current(board, "digits") == there
    np.save(tmp_path / "x.npy", bundle.vectors["input"][:2])
    options = ["--tasks", "b,a", "--device", board.url, "--json"]
    run = CliRunner().invoke(cli, ["run", str(bundle.path), str(tmp_path / "x.npy"), *options])
    assert run.exit_code == 0, run.output
    answers = json.loads(run.stdout)
    wanted = infer(there, "a+b", bundle.vectors["input"][1])
    assert list(answers) == ["a", "b"]
    for task in answers:
        np.testing.assert_array_equal(np.float32(answers[task][1]), wanted[task])


@pytest.mark.slow  # emulated processors
def test_litert_answers_as_pytorch_in_the_python_of_a_raspberry_pi(ssh_board: SshBoard, bundle: Bundle) -> None:
    with opened(ssh_board.url) as device:
        there = deployed(device, bundle, "litert", ("b", "a+c"))
        assert there.deployment.command == ("python3", "program/pamc_run.py")
        check_answers(there, bundle, ("b", "a+c"))
