"""Calibrating on a device: this machine with a folder of its own, and a board that runs emulated."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pamc.cli import invoke
from pamc.errors import ConfigError
from pamc.export import find_exporter
from pamc.graph import Graph
from pamc.lower import load_target
from pamc.lower.cost_model import price_names, total_amounts
from pamc.lower.target import read_costs, write_costs
from pamc.progress import QuietProgress
from pamc_bench.calibration import KERNELS, kernels_of
from pamc_bench.calibration_device import Calibrated, Settings, calibrate_device, measure_grid, pack_grid
from pamc_bench.cost_grid import cost_grid
from pamc_bench.preflight import UnstableError
from pamc_devices.base import Device
from pamc_devices.deploy import deploy
from pamc_devices.deployment import Program
from pamc_devices.find import opened
from pamc_devices.info import Core, DeviceInfo
from pamc_devices.lock import locked
from pamc_devices.probe import probe
from pamc_devices.states import BusyError, CommandError, LostError, NoSpaceError
from pamc_devices.store import Store
from tests.boards.adb import AdbBoard, program_over_glibc
from tests.boards.ssh import SshBoard
from tests.deploy.parts import Failing, parcel, tree

ONNX = find_exporter("onnx")
FEW = ("conv 3 16 16 14", "conv 1 64 64 14", "depthwise 16 4", "linear 64 16")

# Answers in the runner's form with times from a file, so that it is known what the prices have to come out as. Every
# second process of a network takes ten times as long, as where something else ran meanwhile; so do all on one CPU.
RUNNER = """#!/bin/sh
if [ "$1" = info ]; then
  echo '{"kind":"info","runner":"1","runtime":"onnxruntime","runtime_version":"9.8.7","machine":"x","cpus":1}'
  echo '{"kind":"end","lines":1,"status":0}'
  exit
fi
while read -r number time; do
  [ "$number" = "${2##*/}" ] && ns=$time
done <"${0%/*}/times"
[ -f "$2/manifest.json" ] && echo >>"$2/calls"
[ "$(wc -l <"$2/calls")" -eq 2 ] && ns=${ns}0
case "$*" in *" --cpus "[01]) ns=${ns}0 ;; esac
echo '{"kind":"loaded","task_set":"'"$4"'","load_ns":1,"first_ns":1}'
echo '{"kind":"warm","runs":5,"ns":5,"steady":true}'
echo '{"kind":"samples","task_set":"'"$4"'","start_ns":[0],"ns":['"$ns"']}'
echo '{"kind":"end","lines":3,"status":0}'
"""


def grid(names: tuple[str, ...] = FEW) -> dict[str, Graph]:
    found = dict(cost_grid(quick=True))
    return {name: found[name] for name in names}


def planted(folder: Path, seconds: Mapping[str, float]) -> Program:
    """A runner whose times are those given, in the order of the networks."""
    (folder / "runner.sh").write_text(RUNNER)
    (folder / "runner.sh").chmod(0o755)
    (folder / "times").write_text("".join(f"{n} {round(1e9 * t)}\n" for n, t in enumerate(seconds.values())))
    files = {"runner.sh": folder / "runner.sh", "times": folder / "times"}
    return Program("onnxruntime", files, ("program/runner.sh",), ())


def measured(
    device: Device, program: Program, graphs: Mapping[str, Graph] | None = None, **given: object
) -> Calibrated:
    settings = Settings("onnxruntime", allow_unstable=True, **given)  # type: ignore[arg-type]
    info = probe(device)
    return measure_grid(
        device, info, graphs or grid(), ONNX, settings, QuietProgress(), choose=lambda info, runtime: program
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "the device's $home"


def in_store(home: Path) -> list[str]:
    """The files of a device's store."""
    return [name for name in tree(home) if name not in ("store", "store/objects", "store/current", "store/deployments")]


def test_planted_times_give_prices_that_foretell_them(tmp_path: Path, home: Path):
    # Every fifth: something of each kind, and quick to send.
    graphs = dict(list(cost_grid(quick=True))[::5])
    with opened(f"local://{home}") as device:
        kernels = kernels_of("onnxruntime", str(probe(device).abi))
        prices = dict.fromkeys(price_names(kernels), 1e-6) | {"inference": 5e-3, "layer": 2e-3, "op": 1e-3}
        taken = {name: total_amounts(graph, kernels) for name, graph in graphs.items()}
        times = {name: sum(prices[each] * amount for each, amount in item.items()) for name, item in taken.items()}
        found = measured(device, planted(tmp_path, times), graphs)
    costs = found.fit.costs
    for name, item in taken.items():
        assert costs.of(item) == pytest.approx(times[name], rel=1e-3), name
    assert costs.runtime == "onnxruntime" and costs.kernels == kernels
    for words in ("onnxruntime 9.8.7", "wall time, one thread, median of 3 processes", f"{len(graphs)} networks"):
        assert words in costs.measured
    assert "EMULATED" not in costs.measured
    assert in_store(home) == []


def test_a_device_has_one_name_whatever_its_address_and_an_emulated_one_is_called_so(tmp_path: Path):
    program, names = planted(tmp_path, dict.fromkeys(FEW, 1e-3)), set()
    for emulated in (False, True):
        with opened(f"local://{tmp_path}/{emulated}") as device:
            info = replace(probe(device), emulated=emulated, abi="aarch64")
            settings = Settings("onnxruntime", rounds=1, allow_unstable=True)
            found = measure_grid(
                device, info, grid(FEW[3:]), ONNX, settings, QuietProgress(), choose=lambda *_: program
            )
        names.add(found.identity)
        assert found.fit.costs.kernels == KERNELS["onnxruntime"]["aarch64"]
        assert found.fit.costs.measured.startswith("EMULATED") == emulated
        assert "one process each" in found.fit.costs.measured
    (name,) = names
    assert name.startswith("onnxruntime-9.8.7-") and not {"false", "true"} & set(name.split("-"))


@pytest.mark.parametrize(("cores", "cpus", "part"), [(None, "1", "big-core"), ("little", "0", "little-core")])
def test_of_two_kinds_of_cores_the_big_ones_measure(
    tmp_path: Path, home: Path, cores: str | None, cpus: str, part: str
):
    program = planted(tmp_path, dict.fromkeys(FEW, 1e-3))
    kinds = (Core(0, "little core", capacity=512), Core(1, "big core", capacity=1024))
    settings = Settings("onnxruntime", rounds=1, cores=cores, allow_unstable=True)
    with opened(f"local://{home}") as device:
        info = replace(probe(device), cores=kinds, model="board", soc=None)
        found = measure_grid(device, info, grid(FEW[3:]), ONNX, settings, QuietProgress(), choose=lambda *_: program)
    assert f"one thread on CPUs {cpus}," in found.fit.costs.measured
    assert found.identity == f"onnxruntime-9.8.7-board-{part}"
    (seconds,) = (found.fit.costs.of(total_amounts(graph, found.fit.costs.kernels)) for graph in grid(FEW[3:]).values())
    assert seconds == pytest.approx(1e-2)


def test_the_real_runner_times_what_takes_longer_longer(home: Path):
    # 16 times the channels read and 4 times the positions: far more than any noise.
    graphs = grid(("conv 3 16 16 4", "conv 3 64 64 14"))
    settings = Settings("onnxruntime", rounds=1, allow_unstable=True)
    with opened(f"local://{home}") as device:
        fit = measure_grid(device, probe(device), graphs, ONNX, settings, QuietProgress()).fit
    small, large = (fit.costs.of(total_amounts(graph, fit.costs.kernels)) for graph in graphs.values())
    assert 1e-6 < 5 * small < large < 1.0
    assert in_store(home) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, LostError])
def test_wherever_it_ends_nothing_of_it_is_left_and_all_else_is(tmp_path: Path, home: Path, error: type[BaseException]):
    program, graphs = planted(tmp_path, dict.fromkeys(FEW, 1e-3)), grid(FEW[2:])
    with opened(f"local://{home}") as device:
        # Another bundle that shares the runner: its objects must stay.
        deploy(device, parcel(tmp_path / "kit", program), prove=False)
        before = tree(home)
        counted = Failing(device, last=10**9)
        measured(counted, program, graphs, rounds=1)
        assert tree(home) == before
        # While it sends, while the device assembles, while it measures.
        sends = counted.calls - 12
        for last in (sends // 2, sends, counted.calls - 6):
            with pytest.raises(error):
                failing = Failing(device, last, error=lambda: error("now"), stays=False)
                measured(failing, program, graphs, rounds=1)
            assert tree(home) == before, last


def test_what_a_killed_one_left_goes_with_the_next(tmp_path: Path, home: Path):
    program, graphs = planted(tmp_path, dict.fromkeys(FEW, 1e-3)), grid(FEW[3:])
    (tmp_path / "networks").mkdir()
    with opened(f"local://{home}") as device:
        left = pack_grid(tmp_path / "networks", graphs, ONNX, str(probe(device).abi), program)
        deploy(device, left, switch=False, prove=False)
        assert in_store(home)
        measured(device, program, graphs, rounds=1)
    assert in_store(home) == []


def test_what_is_for_times_is_refused_for_an_emulated_board_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    words = ["calibrate", "--device", f"emulated://rpi4{tmp_path}/home"]
    for more in (["--runs", "3"], ["--cores", "big"], ["--allow-unstable"]):
        assert invoke([*words, *more]) == 2
        assert "an emulated board is counted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_could_not_be_written_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").touch()
    # What measures refuses this device, with another code.
    words = ["calibrate", "--device", f"emulated://rpi4{tmp_path}/home", "--cores", "big"]
    for out, why in ((tmp_path, "it is a folder"), (tmp_path / "file" / "x" / "y.yaml", "there is no folder")):
        assert invoke([*words, "--out", str(out)]) == 74
        assert why in capsys.readouterr().err
    assert invoke([*words, "--out", str(tmp_path / "x" / "y" / "z.yaml")]) == 2
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path / "file"))
    assert invoke(words) == 74
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _refused(home: Path, **changes: object) -> None:
    with opened(f"local://{home}") as device:
        info: DeviceInfo = replace(probe(device), **changes)  # type: ignore[arg-type]
        measure_grid(
            device, info, grid(), ONNX, Settings("onnxruntime"), QuietProgress(), choose=lambda *_: pytest.fail()
        )


def test_devices_that_cannot_be_calibrated_are_refused_before_anything_is_sent(home: Path):
    with pytest.raises(ConfigError, match="kernels of onnxruntime on riscv64"):
        _refused(home, abi="riscv64")
    with pytest.raises(UnstableError, match="under-voltage") as refused:
        _refused(home, throttled=("under-voltage",))
    assert "--allow-unstable" in str(refused.value.cure)
    assert not (home / "store").exists()


def test_a_device_in_use_is_not_measured(home: Path):
    with opened(f"local://{home}") as device, locked(device, "something else"), pytest.raises(BusyError):
        calibrate_device(f"local://{home}", ONNX, Settings("onnxruntime"), QuietProgress(), quick=True)


def test_options_for_devices_are_refused_here(capsys: pytest.CaptureFixture[str]):
    assert invoke(["calibrate", "--cores", "big"]) == 2
    assert "are for devices" in capsys.readouterr().err
    assert invoke(["calibrate", "--device", "pi://x"]) == 2
    assert "no kind of device" in capsys.readouterr().err


# Some hundred processes of the runner: half a minute.
@pytest.mark.slow
def test_the_command_takes_a_device_and_a_target_takes_its_costs(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "costs.yaml"
    words = ["--device", f"local://{home}", "--quick", "--runs", "1", "--out", str(path), "--allow-unstable"]
    assert invoke(["calibrate", "-q", "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    costs = read_costs(path)
    assert told["networks"] == 63 and told["path"] == str(path) and told["prices"] == costs.as_data()["prices"]
    assert "wall time" in costs.measured and costs.prices["mac1"] > 0
    assert load_target("arm64").with_costs(path).costs == costs
    assert in_store(home) == []


# The command imports everything, writes its networks and sends them.
@pytest.mark.slow
def test_ctrl_c_leaves_nothing_on_the_device(tmp_path: Path, home: Path):
    words = ["--device", f"local://{home}", "--quick", "--allow-unstable", "--out", str(tmp_path / "costs.yaml")]
    command = [sys.executable, "-m", "pamc", "calibrate", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("measure:") for line in process.stderr)
        time.sleep(1.0)
        # As a terminal does: to the whole group.
        os.killpg(process.pid, signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert in_store(home) == []
    assert not (tmp_path / "costs.yaml").exists()


@pytest.mark.slow
class TestOnTheSshBoard:
    """An arm64 board under emulation: its kernels, its runner, its files."""

    def test_the_command_refuses_it_and_leaves_nothing(
        self, ssh_board: SshBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        out = tmp_path / "costs.yaml"
        assert invoke(["calibrate", "--device", ssh_board.url, "--quick", "--out", str(out)]) == 2
        assert "emulator" in capsys.readouterr().err
        assert not out.exists()

    @pytest.mark.parametrize(("runtime", "form"), [("onnxruntime", "onnx"), ("litert", "tflite")])
    def test_end_to_end(self, ssh_board: SshBoard, tmp_path: Path, runtime: str, form: str):
        with opened(ssh_board.url) as device, locked(device, "test"):
            before = Store(device).survey()
            settings = Settings(runtime, rounds=1)
            found = measure_grid(device, probe(device), grid(FEW[:3]), find_exporter(form), settings, QuietProgress())
            after = Store(device).survey()
        costs = found.fit.costs
        assert costs.measured.startswith("EMULATED") and "Cortex-A72" in costs.measured
        assert costs.kernels == KERNELS[runtime]["aarch64"] and found.fit.networks == 3
        assert found.identity.startswith(f"{runtime}-") and "raspberry-pi-4" in found.identity
        write_costs(tmp_path / "costs.yaml", costs)
        assert load_target("arm64").with_costs(tmp_path / "costs.yaml").costs is not None
        assert (after.objects, after.deployments.keys()) == (before.objects, before.deployments.keys())

    def test_a_full_disk_is_told_and_left_as_it_was(self, ssh_board: SshBoard):
        with opened(f"{ssh_board.url}/mnt/tiny") as device, locked(device, "test"):
            with pytest.raises(NoSpaceError) as refused:
                measure_grid(device, probe(device), grid(), ONNX, Settings("onnxruntime"), QuietProgress())
            left = Store(device).survey()
        assert "--quick" in str(refused.value.cure)
        assert not left.objects and not left.deployments


@pytest.mark.slow
def test_end_to_end_on_the_adb_board(adb_board: AdbBoard):
    def calibrated(cores: str | None) -> Calibrated:
        graphs, settings = grid(FEW[2:]), Settings("onnxruntime", rounds=1, cores=cores)
        return measure_grid(device, probe(device), graphs, ONNX, settings, QuietProgress(), choose=program_over_glibc)

    with opened(adb_board.url) as device, locked(device, "test"):
        before = Store(device).survey()
        # No phone has such a core.
        with pytest.raises(CommandError) as refused:
            calibrated("500")
        assert "--cores all" in str(refused.value.cure)
        found = calibrated("all")
        after = Store(device).survey()
    assert found.fit.costs.measured.startswith("EMULATED") and found.fit.networks == 2
    assert (after.objects, after.deployments.keys()) == (before.objects, before.deployments.keys())
