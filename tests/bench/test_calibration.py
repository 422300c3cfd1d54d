from pathlib import Path

import numpy as np
import pytest

from pamc.cli import invoke
from pamc.errors import ConfigError
from pamc.lower import load_target
from pamc.lower.cost_model import price_names, total_amounts
from pamc.lower.target import read_costs
from pamc_bench.calibration import KERNELS, file_stem, fit_costs, fit_prices, kernels_of
from pamc_bench.cost_grid import cost_grid

ORT = KERNELS["onnxruntime"]["x86_64"]


@pytest.fixture(scope="module")
def taken():
    return [total_amounts(graph, ORT) for _, graph in cost_grid()]


def true_prices():
    measured = load_target("x86_64").costs
    assert measured is not None
    return dict(measured.prices)


def times_of(taken, prices):
    return np.array([sum(prices[name] * amount for name, amount in item.items()) for item in taken])


def test_exact_times_give_the_prices_back(taken):
    wanted = true_prices()
    found, errors = fit_prices(taken, times_of(taken, wanted), price_names(ORT))
    assert errors.max() < 1e-6
    for name, price in wanted.items():
        assert found[name] == pytest.approx(price, rel=1e-3), name


def test_noise_of_five_percent_leaves_times_within_as_much(taken):
    times = times_of(taken, true_prices())
    noisy = times * np.random.default_rng(0).normal(1.0, 0.05, len(times))
    found, errors = fit_prices(taken, noisy, price_names(ORT))
    assert np.median(np.abs(times_of(taken, found) / times - 1)) < 0.02
    assert 0.02 < np.median(errors) < 0.05
    assert min(found.values()) >= 0


def test_a_price_that_would_be_negative_is_nothing(taken):
    wanted = {**true_prices(), "inference": 0.0}
    times = times_of(taken, wanted) - 0.5e-6
    found, _ = fit_prices(taken, times, price_names(ORT))
    assert found["inference"] == 0.0
    scipy = pytest.importorskip("scipy.optimize")
    names = price_names(ORT)
    matrix = np.array([[item[name] for name in names] for item in taken]) / times[:, None]
    sizes = np.linalg.norm(matrix, axis=0)
    reference = scipy.nnls(matrix / sizes, np.ones(len(times)))[0] / sizes
    np.testing.assert_allclose([found[name] for name in names], reference, rtol=1e-6, atol=1e-16)


@pytest.mark.parametrize("kernels", [k for known in KERNELS.values() for k in known.values()], ids=repr)
def test_the_grid_tells_all_prices_of_all_kernels_apart(kernels):
    graphs = dict(cost_grid())
    wanted = dict.fromkeys(price_names(kernels), 1e-9) | {"inference": 5e-6, "layer": 2e-6, "op": 1e-6}
    times = times_of([total_amounts(graph, kernels) for graph in graphs.values()], wanted)
    fit = fit_costs("litert", "made up", kernels, graphs, dict(zip(graphs, times, strict=True)))
    for name, price in wanted.items():
        # Where additions are in place nothing else adds, and where they are not the price is that of any element.
        if name != "add" or kernels.adds_in_place:
            assert fit.costs.prices[name] == pytest.approx(price, rel=1e-3), name
    assert fit.costs.measured == "made up; 332 networks, fitted to 0% (median) and 0% (p90)"


def test_kernels_that_nobody_looked_at_are_refused():
    with pytest.raises(ConfigError, match="kernels of litert on armv7l are not known"):
        kernels_of("litert", "armv7l")


def test_whatever_a_device_is_called_its_file_has_a_plain_name():
    assert file_stem("onnxruntime 1.31.1", "Raspberry Pi 4 Model B Rev 1.4", None, "Cortex-A72") == (
        "onnxruntime-1.31.1-raspberry-pi-4-model-b-rev-1.4-cortex-a72"
    )
    hostile = file_stem("litert", "../../etc/passwd\0\n\x1b[2J ümlaut $(reboot) .. ", "x" * 999)
    assert set(hostile) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") and len(hostile) < 200
    assert hostile.startswith("litert-..-..-etc-passwd-2j-mlaut-reboot-")
    assert file_stem("..") == ""


def test_the_command_writes_costs_that_a_target_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "folders" / "to make" / "costs.yaml"
    assert invoke(["calibrate", "-q", "--quick", "--runs", "1", "--out", str(path)]) == 0
    assert "relative error" in capsys.readouterr().out
    costs = read_costs(path)
    assert costs.runtime == "onnxruntime"
    assert load_target("arm64").with_costs(path).costs == costs


@pytest.mark.parametrize("text", ["", "- 1", "prices: {}", "{", "runtime: x\nmeasured: y\nkernels: 3\nprices: {}"])
def test_other_files_are_no_costs(tmp_path: Path, text: str):
    path = tmp_path / "costs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="costs cannot be read"):
        read_costs(path)
