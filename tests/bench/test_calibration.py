from pathlib import Path

import numpy as np
import pytest

from pamc.cli import invoke
from pamc.errors import ConfigError
from pamc.lower import load_target
from pamc.lower.cost_model import price_names, total_amounts
from pamc.lower.target import read_costs
from pamc_bench.calibration import KERNELS, fit_prices
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


def test_the_grid_has_something_of_every_price(taken):
    for name in price_names(ORT):
        assert any(item[name] for item in taken), name


def test_the_command_writes_costs_that_a_target_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "costs.yaml"
    assert invoke(["calibrate", "-q", "--quick", "--runs", "1", "--out", str(path)]) == 0
    assert "relative error" in capsys.readouterr().out
    costs = read_costs(path)
    assert costs.runtime == "onnxruntime"
    assert load_target("arm64").with_costs(path).costs == costs


def test_only_this_machine_can_be_measured(capsys: pytest.CaptureFixture[str]):
    assert invoke(["calibrate", "--device", "pi"]) == 2
    assert "--device local" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "- 1", "prices: {}", "{", "runtime: x\nmeasured: y\nkernels: 3\nprices: {}"])
def test_other_files_are_no_costs(tmp_path: Path, text: str):
    path = tmp_path / "costs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="costs cannot be read"):
        read_costs(path)
