"""`pamc bench` and `pamc report` as a user meets them, on this machine."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.suites.noise.nets import chain_bundle
from pamc.bundle import open_bundle
from pamc_bench.results import read_result, write_result
from pamc_bench.rows import rows
from tests.bench.results import result
from tests.bench.test_device_report import Page
from tests.builds.project import make_project

PAMC = (sys.executable, "-m", "pamc")
SHORT = ("--quick", "--blocks", "2")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundles, the second with one and a half times the work, in both formats."""
    folder = tmp_path_factory.mktemp("bundles")
    chain_bundle(folder / "two", 8, ("onnx", "tflite"))
    chain_bundle(folder / "three", 12, ("onnx", "tflite"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The store of this machine is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


def pamc(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PAMC, *map(str, args)], capture_output=True, text=True, timeout=300, cwd=cwd, check=False)


def test_a_bundle_is_measured_here_and_all_is_kept(bundles: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "r.json.gz", tmp_path / "r.csv"
    done = pamc("bench", bundles / "two", *SHORT, "--out", out, "--csv", table, "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout and "litert" in done.stdout and "energy: not measured" in done.stdout
    assert "QUICK" in done.stdout and "\x1b" not in done.stdout + done.stderr
    found = read_result(out)
    assert found.complete and found.seed == 3 and found.command[:2] == ("pamc", "bench")
    assert {variant.key.runtime for variant in found.variants} == {"onnxruntime", "litert"}
    assert found.devices["local"].details["url"] == "local" and not found.devices["local"].emulated
    for variant in found.variants:
        assert len(variant.blocks) == 2 and variant.memory is not None and variant.runtime_version
        for block in variant.blocks:
            assert len(block.ns) >= 20 and block.load_ns > 0 and block.first_ns > 0
            ends = [start + ns for start, ns in zip(block.start_ns, block.ns, strict=True)]
            assert all(end <= start for end, start in zip(ends, block.start_ns[1:], strict=False))
    assert len(table.read_text().splitlines()) == 3


def test_the_report_of_a_build_has_the_figures_of_its_results(bundles: Path, tmp_path: Path) -> None:
    kit = make_project(tmp_path / "kit")
    kit.build()
    out, folder = tmp_path / "r.json", tmp_path / "report"
    options = ("--tasks", "digit", "--tasks", "digit+big", "--blocks", "1", "--quick", "--out", out)
    assert pamc("bench", kit.out, *options, cwd=tmp_path).returncode == 0
    done = pamc("report", kit.out, out, "--out", folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(folder / "report.html"), str(folder / "report.md")]
    shown = Page((folder / "report.html").read_text()).cells
    for row in rows(read_result(out)):
        assert row.times is not None
        assert shown["0", row.key.task_set, "bundle", "p50"] == row.times.p50
        assert f"{row.times.p50:.4f}" in (folder / "report.md").read_text()
    assert "Plans" in (folder / "report.html").read_text()
    # The bundle stays as it was built.
    open_bundle(kit.out).check_hashes()
    other = pamc("report", bundles / "two", out, cwd=tmp_path)
    assert other.returncode == 2 and "not of this bundle" in other.stderr


def test_a_slower_bundle_misses_the_goal_and_the_result_says_so_again(bundles: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    options = ("--against", bundles / "two", "--runtime", "onnxruntime", "--blocks", "6", "--precision", "10%")
    done = pamc("bench", bundles / "three", *options, "--fail-if", "slower=3%", "--out", out, cwd=tmp_path)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "missed, even the lower bound is above 3 %" in done.stdout
    again = pamc("bench", "compare", out, "--fail-if", "slower=3%", "--json", cwd=tmp_path)
    assert again.returncode == 6 and "1 of 1 goals are not met" in again.stderr
    found = json.loads(again.stdout)
    assert found["paired"] and found["goals"][0]["verdict"] == "missed"
    assert 0.2 < found["pairs"][0]["changes"]["slower"]["value"] < 0.8
    assert pamc("bench", "compare", out, "--fail-if", "slower=200%", cwd=tmp_path).returncode == 0


def test_a_bundle_against_itself_is_the_noise_floor(bundles: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    done = pamc("bench", bundles / "two", "--aa", "--quick", "--runtime", "onnxruntime", "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = read_result(out)
    assert found.baseline == "chain8 again" and len(found.variants) == 2
    assert {bundle.manifest_sha256 for bundle in found.bundles.values()} == {found.bundles["chain8"].manifest_sha256}


def test_devices_are_measured_side_by_side_and_one_that_fails_does_not_end_the_other(
    bundles: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.json"
    other = f"local://{tmp_path / 'other'}"
    devices = ("--device", "local", "--device", other, "--device", "ssh://nobody@127.0.0.1:9")
    done = pamc("bench", bundles / "two", *SHORT, "--runtime", "onnxruntime", *devices, "--out", out, cwd=tmp_path)
    assert done.returncode == 5 and "1 of 3 devices failed" in done.stderr, done.stderr
    found = read_result(out)
    assert not found.complete and list(found.devices) == ["local", other]
    assert all(len(variant.blocks) == 2 for variant in found.variants) and len(found.variants) == 2


def test_ctrl_c_keeps_the_finished_rounds_and_says_so(bundles: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    options = ("--runtime", "onnxruntime", "--quick", "--blocks", "400", "--out", str(out))
    process = subprocess.Popen(
        [*PAMC, "bench", str(bundles / "two"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if " of 400 blocks" in line:
            break
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "NOT COMPLETE" in stdout and "marked as not complete" in stderr
    found = read_result(out)
    (variant,) = found.variants
    assert not found.complete and 1 <= len(variant.blocks) < 400
    assert [block.round for block in variant.blocks] == list(range(len(variant.blocks)))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--tasks", "chian"), 2, "unknown task 'chian'"),
        (("--runtime", "onnx"), 2, "no runtime is called 'onnx'"),
        (("--cores", "huge"), 2, "names no cores"),
        (("--cores", "little", "--quick"), 2, "has no little cores"),
        (("--fail-if", "slower=3%"), 2, "--fail-if needs --against"),
        (("--precision", "1%"), 2, "needs --against or --aa"),
        (("--aa", "--against", "."), 2, "exclude each other"),
        (("--sustained", "5m", "--quick"), 2, "alone"),
        (("--device", "sssh://pi@board"), 2, "did you mean 'ssh'"),
        (("--csv", "nowhere/times.csv"), 74, "there is no folder nowhere"),
        (("--out", "."), 74, "it is a folder"),
    ],
)
def test_wrong_words_end_with_a_message(
    bundles: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    if "--against" in arguments:
        arguments = ("--aa", "--against", str(bundles / "three"))
    done = pamc("bench", bundles / "two", *arguments, cwd=tmp_path)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "blocks" not in done.stderr


def test_compare_reads_two_files(tmp_path: Path) -> None:
    before, after = result(blocks=20), result(slower=lambda *_: 1.3, blocks=20, seed=1)
    write_result(tmp_path / "a.json", before)
    write_result(tmp_path / "b.json", after)
    done = pamc("bench", "compare", "a.json", "b.json", "--fail-if", "slower=3%", cwd=tmp_path)
    assert done.returncode == 6 and "measured apart" in done.stdout, done.stderr
    done = pamc("bench", "compare", "b.json", "a.json", "--fail-if", "slower=3%,memory=0%", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    done = pamc("bench", "compare", "a.json", "none.json", cwd=tmp_path)
    assert done.returncode == 74 and "none.json" in done.stderr
    write_result(tmp_path / "c.json", replace(after, variants=after.variants[:1]))
    assert pamc("bench", "compare", "a.json", "c.json", cwd=tmp_path).returncode == 2
    assert pamc("bench", "compare", "a.json", "c.json", "--allow-unlike", cwd=tmp_path).returncode == 0


def test_a_device_that_is_busy_says_who_uses_it(bundles: Path, tmp_path: Path) -> None:
    from pamc_devices.find import opened
    from pamc_devices.lock import locked

    with opened("local") as device, locked(device, "a test"):
        done = pamc("bench", bundles / "two", *SHORT, cwd=tmp_path)
    assert done.returncode == 5 and f"process {os.getpid()}" in done.stderr
