"""`pamc bench --counts`, `counts`, `calibrate` and the gate on instructions, as a user meets them."""

from __future__ import annotations

import csv
import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from pamc.bundle import Bundle
from pamc.cli import invoke
from pamc.errors import ConfigError
from pamc_bench.counts import OUTSIDE, check_counting
from pamc_bench.request import Request
from pamc_bench.results import Protocol, read_result, write_result
from tests.bench.results import result
from tests.counting.nets import MACS


@pytest.fixture(scope="module")
def counted(counting: None, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result of a run with counts by kernel."""
    folder = tmp_path_factory.mktemp("counts")
    options = ("--device", "emulated://rpi4", "--tasks", "matmul", "--counts", "--per-layer")
    outputs = ("--out", str(folder / "r.json"), "--csv", str(folder / "r.csv"))
    with redirect_stdout(StringIO()) as stream:
        assert invoke(["bench", str(bundle.path), *options, *outputs]) == 0
    (folder / "stdout").write_text(stream.getvalue())
    return folder


def test_counts_are_kept_and_shown_and_times_are_not(counted: Path) -> None:
    found = read_result(counted / "r.json")
    (variant,) = found.variants
    counts = variant.counts
    assert counts is not None and counts.classes["fma_vector"] == MACS // 4 and counts.cpu == "cortex-a72"
    assert list(counts.layers) == ["reshape (Reshape 64x128)", "product (MatMul 64x64)", OUTSIDE]
    sums = {name: sum(layer[name] for layer in counts.layers.values()) for name in counts.classes}
    assert sums == counts.classes
    assert found.devices["emulated://rpi4"].emulated and variant.memory is None
    shown = (counted / "stdout").read_text()
    assert f"{counts.total:,}" in shown and f"{MACS // 4:,}" in shown
    assert "EMULATED: its times are no latencies" in shown and "NOT CALIBRATED" in shown
    (row,) = csv.DictReader((counted / "r.csv").open())
    assert row["instructions"] == str(counts.total) and row["emulated"] == "True"
    assert [name for name in row if name.endswith("_ms") and row[name]] == []


def test_a_gate_on_instructions_needs_no_board(
    counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = str(counted / "r.json"), tmp_path / "after.json"
    found = read_result(Path(before))
    (variant,) = found.variants
    assert variant.counts is not None
    assert invoke(["bench", "compare", before, before, "--fail-if", "instructions=0%"]) == 0
    assert "the same" in capsys.readouterr().out
    for more, code in ((0.004, 0), (0.006, 6)):
        classes = {**variant.counts.classes}
        classes["integer"] += round(more * variant.counts.total)
        worse = replace(variant, counts=replace(variant.counts, classes=classes))
        write_result(after, replace(found, variants=(worse,)))
        assert invoke(["bench", "compare", before, str(after), "--fail-if", "instructions=0.5%"]) == code
    assert invoke(["bench", "compare", before, before, "--fail-if", "slower=3%"]) == 2
    assert "the device is emulated" in capsys.readouterr().err


def test_counts_command_shows_a_result_again(counted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["bench", "counts", str(counted / "r.json"), "--layers"]) == 0
    assert "product (MatMul 64x64)" in capsys.readouterr().out
    assert invoke(["bench", "counts", str(counted / "r.json"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["classes"]["fma_vector"] == MACS // 4
    assert row["estimate"]["what"] == "estimate, uncalibrated" and row["estimate"]["ms"] > 0


def test_a_result_without_counts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = result()
    write_result(tmp_path / "r.json", replace(bare, variants=tuple(replace(v, counts=None) for v in bare.variants)))
    assert invoke(["bench", "counts", str(tmp_path / "r.json")]) == 2
    assert "--counts" in capsys.readouterr().err


def test_calibrate_writes_what_counts_reads(counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_result(counted / "r.json")
    (variant,) = found.variants
    board = {"emulated://rpi4": replace(found.devices["emulated://rpi4"], emulated=False, details={})}
    write_result(tmp_path / "board.json", replace(found, devices=board, variants=(replace(variant, counts=None),)))
    files = [str(counted / "r.json"), str(tmp_path / "board.json"), "--out", str(tmp_path / "c.json")]
    assert invoke(["bench", "calibrate", *files]) == 0
    assert "times the first-order estimate" in capsys.readouterr().out
    assert invoke(["bench", "counts", files[0], "--calibration", files[-1]]) == 0
    assert "calibrated on Raspberry Pi 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--counts",), "emulated://rpi4"),
        (("--counts", "--device", "emulated://rpi4", "--threads", "2"), "--threads 1"),
        (("--counts", "--device", "emulated://rpi4", "--cores", "0"), "--cores all"),
        (("--per-layer",), "--per-layer needs --counts"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    bundle: Bundle, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["bench", str(bundle.path), *options]) == 2
    assert message in capsys.readouterr().err


def test_runtimes_in_python_are_not_counted(bundle: Bundle) -> None:
    request = Request({"theory": bundle}, None, ("matmul",), ("litert",), (1,), "all", Protocol(), 0, False)
    with pytest.raises(ConfigError, match="onnxruntime alone"):
        check_counting(["emulated://rpi4"], request)
