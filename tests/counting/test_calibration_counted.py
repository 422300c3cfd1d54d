"""Prices from counted instructions: the same in every process, in proportion to the work, and those that come along."""

import pytest

from pamc.export import find_exporter
from pamc.lower import load_target
from pamc.progress import QuietProgress
from pamc_bench.calibration import kernels_of
from pamc_bench.calibration_counted import count_grid
from pamc_bench.cost_grid import cost_grid

GRID = {name: graph for name, graph in cost_grid() if name in ("conv 1 64 64 7", "conv 1 64 128 7")}

FORMATS = {"onnxruntime": "onnx", "litert": "tflite"}
# Four times 49 positions of 64 x 64 more multiplications, 4 in a cycle at 1800 MHz; what runs beside them is less.
LEAST = 4 * 49 * 64 * 64 / 4 / 1.8e9


def count(runtime: str) -> dict[str, float]:
    return count_grid("rpi4", runtime, GRID, find_exporter(FORMATS[runtime]), QuietProgress())


def test_counted_times_repeat_exactly_and_grow_with_the_work(counting: None) -> None:
    found = count("onnxruntime")
    assert found == count("onnxruntime")
    assert LEAST < found["conv 1 64 128 7"] - found["conv 1 64 64 7"] < 2 * LEAST


def test_those_of_litert_repeat_but_for_a_little_of_python(counting: None) -> None:
    pytest.importorskip("ai_edge_litert")
    found, again = count("litert"), count("litert")
    for name, seconds in found.items():
        assert again[name] == pytest.approx(seconds, rel=2e-3)
    assert LEAST < found["conv 1 64 128 7"] - found["conv 1 64 64 7"] < 2 * LEAST


def test_arm_comes_with_prices_that_say_they_are_no_times() -> None:
    costs = load_target("arm64").costs
    assert costs is not None and costs.measured.startswith("ESTIMATED, no times")
    assert costs.kernels == kernels_of("onnxruntime", "aarch64")
    assert costs.prices["layer"] > 1000 * costs.prices["mac1"]
