"""`pamc deploy` and `pamc run --device` as a user meets them, with this machine as the device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pamc
from pamc.bundle import MANIFEST, file_entry, open_bundle
from pamc.cli import invoke
from pamc_devices.find import opened
from pamc_devices.lock import locked
from tests.bundle.making import make_bundle
from tests.deploy.parts import tree

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line; return its exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = invoke([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def url(home: Path) -> str:
    return f"local://{home}"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "kit", ("age", "smile", "age+smile"))


def wrong_answers(kit: Path) -> None:
    """Make the networks of a bundle disagree with its test vectors, as if the device computed something else."""
    vectors = load_file(kit / "vectors.safetensors")
    vectors["output:smile"] = vectors["output:smile"] + np.float32(1)
    save_file(vectors, kit / "vectors.safetensors")
    manifest = json.loads((kit / MANIFEST).read_text())
    entry = file_entry(kit / "vectors.safetensors")
    manifest["files"]["vectors.safetensors"] = {"sha256": entry.sha256, "bytes": entry.bytes}
    (kit / MANIFEST).write_text(json.dumps(manifest))


def test_from_the_bundle_to_answers_and_back(run: Command, url: str, home: Path, kit: Path, tmp_path: Path) -> None:
    code, out, _ = run("deploy", kit, "--device", url, "--dry-run", "--json")
    planned: dict[str, Any] = json.loads(out)
    assert code == 0 and not (home / "store").exists()

    code, out, _ = run("deploy", kit, "--device", url, "--json")
    first = json.loads(out)
    assert code == 0 and first["sent"] == planned["send"]
    assert first["task_sets"] == ["age", "smile", "age+smile"] and first["previous"] is None
    assert [(check["task_set"], check["task"]) for check in first["checks"]] == [
        ("age", "age"),
        ("smile", "smile"),
        ("age+smile", "age"),
        ("age+smile", "smile"),
    ]

    np.save(tmp_path / "x.npy", open_bundle(kit).vectors["input"][:2])
    code, out, _ = run("run", kit, tmp_path / "x.npy", "--tasks", "smile,age", "--device", url, "--json")
    wanted = pamc.load(kit).run(np.load(tmp_path / "x.npy"), tasks=["age", "smile"])
    assert code == 0
    for task, values in json.loads(out).items():
        np.testing.assert_allclose(values, wanted[task], rtol=1e-5, atol=1e-6)

    code, out, _ = run("deploy", kit, "--device", url, "--tasks", "age", "--tasks", "smile", "-q")
    assert code == 0 and "kit on local://" in out and "by onnxruntime: age, smile\n" in out and "sent 1 of " in out
    code, _, err = run("run", kit, tmp_path / "x.npy", "--tasks", "smile,age", "--device", url)
    assert code == 2 and "task set age+smile was not deployed" in err

    code, out, _ = run("deploy", "--device", url, "--list", "--json")
    assert [(row["use"], row["task_sets"]) for row in json.loads(out)["deployments"]] == [
        ("current", ["age", "smile"]),
        ("previous", ["age", "smile", "age+smile"]),
    ]
    code, out, _ = run("deploy", "--device", url, "--rollback", "kit")
    assert code == 0 and "back to age, smile, age+smile" in out
    assert (home / "store/current/kit").read_text().startswith(first["id"])

    assert run("deploy", "--device", url, "--prune")[0] == 0
    assert len(json.loads(run("deploy", "--device", url, "--list", "--json")[1])["deployments"]) == 2
    code, out, _ = run("deploy", "--device", url, "--remove", "kit")
    assert code == 0 and "removed 2 deployments" in out
    assert not any(tree(home).values())
    assert "nothing is deployed" in run("deploy", "--device", url, "--list")[1]


def test_a_bundle_that_answers_wrong_ends_with_code_4(run: Command, url: str, home: Path, kit: Path) -> None:
    assert run("deploy", kit, "--device", url, "--tasks", "age")[0] == 0
    before = tree(home / "store/current"), tree(home / "store/deployments")
    wrong_answers(kit)
    code, out, err = run("deploy", kit, "--device", url)
    assert (code, out) == (4, "")
    assert "does not answer as the PyTorch networks" in err and "task set age+smile: smile is off by" in err
    assert (tree(home / "store/current"), tree(home / "store/deployments")) == before


def test_another_build_is_not_mistaken_for_this_one(run: Command, url: str, kit: Path, tmp_path: Path) -> None:
    assert run("deploy", kit, "--device", url, "--tasks", "age")[0] == 0
    wrong_answers(kit)
    np.save(tmp_path / "x.npy", open_bundle(kit).vectors["input"])
    code, _, err = run("run", kit, tmp_path / "x.npy", "--tasks", "age", "--device", url)
    assert code == 2 and "another build of kit is in use there" in err


def test_a_busy_device_is_left_alone(run: Command, url: str, home: Path, kit: Path) -> None:
    with opened(url) as device, locked(device, "a test"):
        code, _, err = run("deploy", kit, "--device", url)
    assert code == 5 and "a test" in err and "uses" in err
    assert not (home / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a BUNDLE, or one of"),
        (["BUNDLE", "--list"], 2, "name a BUNDLE, or one of"),
        (["--list", "--tasks", "age"], 2, "need a BUNDLE"),
        (["BUNDLE", "--tasks", "age+smle"], 2, "unknown task 'smle', did you mean 'smile'?"),
        (["BUNDLE", "--runtime", "litert"], 2, "no networks in the format tflite"),
        (["--rollback", "kit"], 2, "no bundle called 'kit' is deployed there"),
        (["--remove", "../kit"], 2, "no bundle called '../kit' is deployed there"),
    ],
)
def test_wrong_usage_is_told(
    run: Command, url: str, home: Path, kit: Path, arguments: list[str], code: int, message: str
) -> None:
    given = [str(kit) if word == "BUNDLE" else word for word in arguments]
    found, out, err = run("deploy", *given, "--device", url)
    assert (found, out) == (code, "")
    assert message in " ".join(err.split())
    assert not any(tree(home).values())


def test_a_changed_bundle_is_not_deployed(run: Command, url: str, home: Path, kit: Path) -> None:
    weights = kit / "onnx/weights.bin"
    data = bytearray(weights.read_bytes())
    data[3] ^= 1
    weights.write_bytes(data)
    code, _, err = run("deploy", kit, "--device", url)
    assert code == 74 and "files of the bundle were changed: onnx/weights.bin" in err
    assert not home.exists()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 12, 12), np.uint8), "the input is float32"),
        (np.zeros((12, 12), np.float32), "the input is float32 of shape (1, 12, 12)"),
        (np.zeros((0, 1, 12, 12), np.float32), "x is float32 of shape (0, 1, 12, 12)"),
    ],
)
def test_an_input_that_does_not_fit_is_told(
    run: Command, url: str, kit: Path, tmp_path: Path, x: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "x.npy", x)
    code, _, err = run("run", kit, tmp_path / "x.npy", "--tasks", "age", "--device", url)
    assert code == 2 and message in err and "x.npy" in err
    code, _, err = run("run", kit, tmp_path / "x.npy", "--tasks", "age", "--device", url, "--format", "onnx")
    assert code == 2 and "exclude each other" in err
