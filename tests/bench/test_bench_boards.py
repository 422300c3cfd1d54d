"""Measuring on emulated boards: everything runs there, and no time of theirs is ever shown as a latency."""

from contextlib import AbstractContextManager
from functools import partial
from io import StringIO

import pytest
from rich.console import Console

from benchmarks.suites.noise.nets import TASK, chain_bundle
from pamc.bundle import Bundle
from pamc.errors import ConfigError
from pamc_bench.compare import compare
from pamc_bench.fleet import Station, measure_fleet
from pamc_bench.goals import parse_goals
from pamc_bench.live import SilentWatcher
from pamc_bench.request import Request
from pamc_bench.results import Protocol, Result, from_json, to_json
from pamc_bench.rows import rows
from pamc_bench.station import open_station
from pamc_bench.table import result_table
from pamc_devices.programs import program_for
from tests.boards.adb import AdbBoard, program_over_glibc
from tests.boards.ssh import SshBoard

# Under emulation a runtime takes seconds to start and to be hashed.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return chain_bundle(tmp_path_factory.mktemp("bundles") / "small", 1, ("onnx", "tflite"))


def measured(url: str, bundle: Bundle, runtimes: tuple[str, ...], choose: object = program_for) -> Result:
    request = Request({"small": bundle}, None, (TASK,), runtimes, (1,), "all", Protocol(), 0, False)

    def station(url: str, request: Request) -> AbstractContextManager[Station]:
        return partial(open_station, choose=choose)(url, request)  # type: ignore[call-arg]

    return measure_fleet([url], request, station, SilentWatcher(), command=["pamc", "bench"])


def check(result: Result, url: str, runtimes: tuple[str, ...], machine: str = "aarch64") -> None:
    entry = result.devices[url]
    assert result.complete and entry.emulated and entry.machine == machine and entry.failure is None
    assert {variant.key.runtime for variant in result.variants} == set(runtimes)
    for variant in result.variants:
        assert len(variant.blocks) == 1 and len(variant.blocks[0].ns) >= 3
        # What an emulated process takes is mostly QEMU's own.
        assert variant.memory is None and variant.runtime_version
        assert variant.unstable == ()
    assert all(row.times is None and row.memory_kib is None for row in rows(result))
    console = Console(width=200, color_system=None, file=StringIO(), record=True)
    console.print(result_table(result))
    text = console.export_text()
    assert "EMULATED" in text and "ms" in text
    for variant in result.variants:
        for value in variant.blocks[0].ns:
            assert f"{value / 1e6:.3f}" not in text
    assert from_json(to_json(result)) == result
    with pytest.raises(ConfigError, match="not measured on both sides"):
        compare(result, result, parse_goals(["slower=3%"]))


def test_on_the_ssh_board(bundle: Bundle, ssh_board: SshBoard) -> None:
    check(measured(ssh_board.url, bundle, ("onnxruntime",)), ssh_board.url, ("onnxruntime",))


def test_on_the_adb_board(bundle: Bundle, adb_board: AdbBoard) -> None:
    result = measured(adb_board.url, bundle, ("onnxruntime",), program_over_glibc)
    check(result, adb_board.url, ("onnxruntime",))


@pytest.mark.parametrize("board", ["rpi4", "rpi5"])
def test_on_an_emulated_processor(bundle: Bundle, board: str, boards: None) -> None:
    url = f"emulated://{board}"
    result = measured(url, bundle, ("onnxruntime",))
    check(result, url, ("onnxruntime",))


def test_litert_in_python_on_the_ssh_board(bundle: Bundle, ssh_board: SshBoard) -> None:
    check(measured(ssh_board.url, bundle, ("litert",)), ssh_board.url, ("litert",))
