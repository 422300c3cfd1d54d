"""`pamc slice`: a bundle with only some task sets of another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import pamc
from pamc.bundle import Bundle, open_bundle
from pamc.cli import cli, invoke
from pamc.errors import ConfigError, OutputError
from pamc.slicing import chosen_sets, slice_bundle
from pamc_bench.reporter import LocalReporter
from tests.builds.kinds import EMITTED, FORMATS
from tests.bundle.making import make_bundle

KEPT = ("digit",)
WHOLE = {"config.yaml", "multitask.json", "multitask.safetensors", "numerics.json", "vectors.safetensors"}


@pytest.fixture(scope="module", params=["none", "int8"])
def pair(
    request: pytest.FixtureRequest, bundles: Mapping[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Bundle]:
    """A bundle and its slice."""
    bundle = bundles[request.param]
    path = slice_bundle(bundle, KEPT, tmp_path_factory.mktemp("slice") / "small", LocalReporter())
    return bundle, open_bundle(path)


def test_a_slice_is_a_whole_and_smaller_bundle(pair: tuple[Bundle, Bundle]) -> None:
    bundle, small = pair
    small.check_hashes()
    on_disk = {path.relative_to(small.path).as_posix() for path in small.path.rglob("*") if path.is_file()}
    assert on_disk == {*small.manifest.files, "manifest.json"}
    for name in (*WHOLE, "redundancy.json"):
        assert small.file(name).read_bytes() == bundle.file(name).read_bytes()
    for format in FORMATS:
        before, after = (
            sum(entry.bytes for file, entry in held.manifest.files.items() if file.startswith(f"{format}/"))
            for held in pair
        )
        assert after < before
        assert after == bundle.manifest.task_sets["digit"].bytes[format]


def test_its_manifest_is_true(pair: tuple[Bundle, Bundle]) -> None:
    bundle, small = pair
    assert small.manifest.slice_of == hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()
    assert {text for text, entry in small.manifest.task_sets.items() if entry.emitted} == set(KEPT)
    assert small.manifest.task_sets.keys() == bundle.manifest.task_sets.keys()
    gone = small.manifest.task_sets["digit+parity"]
    assert (gone.files, gone.bytes) == ((), {})
    assert gone.scores == bundle.manifest.task_sets["digit+parity"].scores
    assert {check.task_set for check in small.manifest.verification} == set(KEPT)
    assert (small.manifest.numerics, small.manifest.tools) == (bundle.manifest.numerics, bundle.manifest.tools)


@pytest.mark.parametrize("format", FORMATS)
def test_it_runs_as_before_and_composes_the_rest(pair: tuple[Bundle, Bundle], format: str) -> None:
    runtimes = [pamc.load(held.path, format=format) for held in pair]
    assert runtimes[1].task_sets == KEPT
    x = pair[0].vectors["input"]
    np.testing.assert_array_equal(*(runtime.run(x, tasks="digit")["digit"] for runtime in runtimes))
    for task in ("digit", "parity"):
        np.testing.assert_allclose(*(runtime.run(x)[task] for runtime in runtimes), rtol=1e-4, atol=1e-4)


def test_its_reports_say_what_it_is(pair: tuple[Bundle, Bundle]) -> None:
    for name in ("report.html", "report.md"):
        text = (pair[1].path / name).read_text()
        assert str(pair[1].manifest.slice_of) in text and "parity" in text


def test_the_command_line(pair: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    bundle, out = pair[0], tmp_path / "deep" / "small"
    run = CliRunner().invoke(cli, ["slice", str(bundle.path), "--tasks", "parity,digit", "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert f"onnx: {', '.join(EMITTED)} in " in run.output
    again = CliRunner().invoke(
        cli, ["slice", str(out), "--task-sets", "parity + digit", "--out", str(tmp_path / "b"), "--json"]
    )
    assert again.exit_code == 0, again.output
    assert [text for text, entry in json.loads(again.stdout)["task_sets"].items() if entry["emitted"]] == [
        "digit+parity"
    ]
    np.save(tmp_path / "x.npy", bundle.vectors["input"])
    for arguments in (["run", tmp_path / "b", tmp_path / "x.npy", "--tasks", "digit", "--format", "tflite"],):
        assert CliRunner().invoke(cli, list(map(str, arguments))).exit_code == 0
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path / "b"), "--plan", "digit+parity"])
    assert "task set digit+parity" in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "digt"], "unknown task 'digt', did you mean 'digit'?"),
        (["--tasks", "parity"], "no task set of parity was emitted"),
        (["--task-sets", "parity"], "task set parity has no network in the bundle"),
        (["--tasks", "digit", "--task-sets", "digit+parity"], "task set digit+parity asks for other tasks than digit"),
        (["--task-sets", "digit++parity"], "is not a task set"),
        ([], "name --tasks or --task-sets"),
    ],
)
def test_what_cannot_be_kept_is_told(
    bundles: Mapping[str, Bundle],
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert invoke(["slice", str(bundles["none"].path), *arguments, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_not_replaced_by_its_slice(bundles: Mapping[str, Bundle]) -> None:
    before = (bundles["none"].path / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="would replace the bundle itself"):
        slice_bundle(bundles["none"], KEPT, bundles["none"].path, LocalReporter())
    assert (bundles["none"].path / "manifest.json").read_bytes() == before


def test_a_changed_bundle_is_not_sliced(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "kit")
    weights = path / "onnx" / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    with pytest.raises(OutputError, match=r"files of the bundle were changed: onnx/weights\.bin"):
        slice_bundle(open_bundle(path), ["age"], tmp_path / "small", LocalReporter())
    assert [entry.name for entry in tmp_path.iterdir()] == ["kit"]


def test_task_sets_are_kept_in_order_and_once(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "kit", ("age", "smile", "age+smile")))
    assert chosen_sets(bundle, ["smile", "age"], []) == ("age", "smile", "age+smile")
    assert chosen_sets(bundle, ["smile"], []) == ("smile",)
    assert chosen_sets(bundle, [], ["smile+age", "age", "age+smile"]) == ("age", "age+smile")
