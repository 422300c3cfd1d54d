"""Prices from counted instructions: the same in every process, in proportion to the work, and those that come along."""

from pamc.export import find_exporter
from pamc.lower import load_target
from pamc.progress import QuietProgress
from pamc_bench.calibration import kernels_of
from pamc_bench.calibration_counted import count_grid
from pamc_bench.cost_grid import cost_grid

GRID = {name: graph for name, graph in cost_grid() if name in ("conv 1 64 64 7", "conv 1 64 128 7")}


def test_counted_times_repeat_exactly_and_grow_with_the_work(counting: None) -> None:
    exporter = find_exporter("onnx")
    found = count_grid("rpi4", GRID, exporter, QuietProgress())
    assert found == count_grid("rpi4", GRID, exporter, QuietProgress())
    # Four times 49 positions of 64 x 64 more multiplications, 4 in a cycle at 1800 MHz; what runs beside them is less.
    least = 4 * 49 * 64 * 64 / 4 / 1.8e9
    assert least < found["conv 1 64 128 7"] - found["conv 1 64 64 7"] < 2 * least


def test_arm_comes_with_prices_that_say_they_are_no_times() -> None:
    costs = load_target("arm64").costs
    assert costs is not None and costs.measured.startswith("ESTIMATED, no times")
    assert costs.kernels == kernels_of("onnxruntime", "aarch64")
    assert costs.prices["layer"] > 1000 * costs.prices["mac1"]
