"""From counts to estimates, and what a real board's times make of them. Nothing is emulated here."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from rich.console import Console

from pamc.errors import ConfigError, OutputError
from pamc_bench.counts_estimate import CORES, Calibration, estimate, fit, read_calibration
from pamc_bench.counts_table import as_data, counts_table
from pamc_bench.results import Counts, Result
from tests.bench.results import SIZES, block, device, result

MHZ = 1500
CYCLES_PER_MS = 1000 * MHZ


def counted(scale: float = 1.0) -> Result:
    """Counts whose estimates are the medians of `measured`, in a network that only multiplies and loads."""
    found = result(emulated=True)
    variants = []
    for variant in found.variants:
        fma = round(scale * SIZES[variant.key.task_set] * CYCLES_PER_MS)
        counts = Counts({"fma_vector": fma, "load_vector": fma // 2}, "qemu", "cortex-a72", {"conv": {"fma_vector": 1}})
        variants.append(replace(variant, counts=counts, key=replace(variant.key, device="emulated://rpi4")))
    entry = replace(device(emulated=True), details={"cpu": "cortex-a72", "megahertz": MHZ})
    return replace(found, variants=tuple(variants), devices={"emulated://rpi4": entry})


def measured(factors: tuple[float, ...] = (2.0, 3.0, 4.5), part: str | None = "Cortex-A72") -> Result:
    """Times that are these factors above the estimates."""
    found = result()
    variants = []
    for variant, factor in zip(found.variants, factors, strict=True):
        blocks = tuple(block(i, factor * 1e6 * SIZES[variant.key.task_set]) for i in range(3))
        variants.append(replace(variant, blocks=blocks, counts=None, key=replace(variant.key, cpus=None)))
    url = found.variants[0].key.device
    entry = replace(device(), details={"cores": [{"part": part}]})
    return replace(found, variants=tuple(variants), devices={url: entry})


def text(*args: object, **options: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=300).print(counts_table(*args, **options))  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    ("cpu", "classes", "cycles"),
    [
        ("cortex-a72", {"fma_vector": 100}, 100),
        ("cortex-a72", {"fma_scalar": 100, "simd": 100}, 100),
        ("cortex-a72", {"load": 90, "load_vector": 30, "store": 60}, 120),
        ("cortex-a72", {"integer": 300, "branch": 60}, 120),
        ("cortex-a76", {"fma_vector": 100}, 50),
        ("cortex-a76", {"dot": 100, "load_vector": 80, "store_vector": 40}, 60),
        ("cortex-a53", {"fma_vector": 100}, 200),
        ("cortex-a53", {"load": 90, "store": 60}, 150),
        ("cortex-a53", {"other": 100}, 50),
    ],
)
def test_the_busiest_part_decides(cpu: str, classes: dict[str, int], cycles: float) -> None:
    assert CORES[cpu].cycles(classes) == pytest.approx(cycles)


def test_an_estimate_is_cycles_at_the_boards_clock() -> None:
    found = counted()
    for variant in found.variants:
        guess = estimate(found, variant)
        assert guess is not None and guess.low is None
        assert guess.ms == pytest.approx(SIZES[variant.key.task_set], rel=1e-5)


def test_a_calibration_is_what_the_board_took(tmp_path: Path) -> None:
    made = fit(counted(), measured())
    ratios = [
        median(median(b.ns) for b in variant.blocks) / 1e6 / SIZES[variant.key.task_set]
        for variant in measured().variants
    ]
    assert made.factor == pytest.approx((ratios[0] * ratios[1] * ratios[2]) ** (1 / 3), rel=1e-4)
    assert (made.low, made.high) == (pytest.approx(2, rel=0.02), pytest.approx(4.5, rel=0.02))
    assert made.variants == 3 and made.board == "Raspberry Pi 4 Model B" and made.megahertz == MHZ
    (tmp_path / "c.json").write_text(made.to_json())
    assert read_calibration(tmp_path / "c.json") == made
    found = counted()
    guess = estimate(found, found.variants[0], made)
    assert guess is not None and guess.low is not None and guess.high is not None
    assert guess.ms == pytest.approx(3 * SIZES["digit"], rel=0.02) and guess.low < guess.ms < guess.high
    shown = text(found, calibration=made)
    assert "calibrated on Raspberry Pi 4 Model B with 3 networks" in shown and "no measurement" in shown
    assert as_data(found, made)[0]["estimate"]["what"].startswith("estimate, calibrated on")  # type: ignore[index]


def test_estimates_say_that_they_are_some() -> None:
    shown = text(counted(), layers=True)
    assert "estimate, ms" in shown and "NOT CALIBRATED" in shown and "~0.2" in shown and "conv" in shown
    assert "p50" not in shown and "latency" not in shown


def test_a_calibration_of_something_else_is_refused() -> None:
    found = counted()
    made = fit(found, measured())
    for other in (
        replace(made, cpu="cortex-a76"),
        replace(made, megahertz=1800),
        replace(made, runtime_version="1.30.0"),
    ):
        with pytest.raises(ConfigError, match="something else"):
            estimate(found, found.variants[0], other)


def test_only_what_both_have_is_fitted() -> None:
    board = measured()
    unstable = replace(board.variants[0], unstable=("hot",))
    threads = replace(board.variants[1], key=replace(board.variants[1].key, threads=4))
    made = fit(counted(), replace(board, variants=(unstable, threads, board.variants[2])))
    assert made.variants == 1 and made.low == made.factor == made.high == pytest.approx(4.5, rel=0.02)


def test_what_does_not_belong_together_is_refused() -> None:
    board = measured()
    other = {name: replace(entry, manifest_sha256="cd" * 32) for name, entry in board.bundles.items()}
    version = tuple(replace(variant, runtime_version="1.30.0") for variant in board.variants)
    emulated = {url: replace(entry, emulated=True) for url, entry in board.devices.items()}
    for wrong in (
        replace(board, bundles=other),
        replace(board, variants=version),
        replace(board, devices=emulated),
        counted(),
    ):
        with pytest.raises(ConfigError, match="no variant in common"):
            fit(counted(), wrong)
    with pytest.raises(ConfigError, match="another processor: Cortex-A76"):
        fit(counted(), measured(part="Cortex-A76"))
    assert fit(counted(), measured(part=None)).variants == 3
    second = replace(board.variants[0], key=replace(board.variants[0].key, device="adb://X"))
    two = replace(
        board,
        variants=(second, *board.variants[1:]),
        devices={**board.devices, "adb://X": device()},
    )
    with pytest.raises(ConfigError, match="several boards"):
        fit(counted(), two)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "x"}, "kind"),
        ({"schema_version": 2}, "version"),
        ({"factor": 0.0}, "bounds"),
        ({"low": 9.0}, "bounds"),
        ({"variants": "3"}, "variants"),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path: Path, change: dict[str, object], why: str) -> None:
    made = Calibration("cortex-a72", 1500, "onnxruntime", "1.31.1", 2.0, 1.5, 2.5, 3, "Pi", "2026")
    (tmp_path / "c.json").write_text(replace(made, **change).to_json())  # type: ignore[arg-type]
    with pytest.raises(OutputError, match=why):
        read_calibration(tmp_path / "c.json")


def test_a_calibration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"kind":')
    for name in ("none.json", "half.json"):
        with pytest.raises(OutputError, match="calibrat"):
            read_calibration(tmp_path / name)
