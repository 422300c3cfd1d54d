"""The figures, the page and the plot of the peers' results, against numbers worked out by hand."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.suites.peers.measuring import AGAIN, EMPTY
from benchmarks.suites.peers.page import page
from benchmarks.suites.peers.plots import STYLES, time_plot
from benchmarks.suites.peers.results import SCHEMA, Results, read, times
from benchmarks.suites.peers.rows import OURS, rows

SETS = ("A", "B", "A+B")
MACS = {"separate": (100, 300, 400), OURS: (80, 120, 140)}
MS = {"separate": (1.0, 3.0, 4.0), OURS: (0.5, 1.5, 1.0), AGAIN: (0.55, 1.65, 1.0), EMPTY: (0.006, 0.0072, 0.008)}
SPREAD = (0.97, 1.0, 0.99, 1.02, 1.01, 0.98, 1.03)
"""Of the blocks, over their median."""


def blocks() -> list[dict[str, object]]:
    return [
        {
            "ns": {
                name: {row: {"median": 1e6 * ms[place] * factor, "runs": 10, "steady": True} for row, ms in MS.items()}
                for place, name in enumerate(SETS)
            }
        }
        for factor in SPREAD
    ]


def figure(row: str, place: int) -> dict[str, object]:
    name, macs = SETS[place], 1000 * MACS[row][place]
    return {
        "row": row,
        "runtime": "onnxruntime",
        "task_set": name,
        "accuracies": dict(zip(name.split("+"), {"A": (90.0,), "B": (80.0,), "A+B": (90.0, 81.0)}[name], strict=True)),
        "macs": macs,
        "computed_macs": macs,
        "params": 10,
        "bytes": 1000 * (place + 1),
        "bytes_of_all_sets": 7000,
        "resident_kib": {"added": 100.0 * (place + 1), "peak": 50_000.0},
        "error": 1e-6,
        "instructions": {"rpi4": macs // 4} if row == OURS else {},
    }


@pytest.fixture
def results() -> Results:
    every = rows("share")
    told = {"mtz": "no network kept the budget"}
    return Results(
        {
            "kind": "peers",
            "schema": SCHEMA,
            "suite": "digits",
            "title": "Title",
            "scale": "small",
            "seed": 0,
            "command": "python benchmarks/suites/peers digits",
            "created": "2026-01-02T03:04:05+00:00",
            "environment": "a machine",
            "load_after": 1.25,
            "protocol": {"blocks": len(SPREAD), "runs": 10},
            "setup": {"max_drop": 1.0},
            "tasks": ["A", "B"],
            "rows": [
                {"name": name, "label": every[name].label, "about": every[name].about, "missing": told.get(name)}
                for name in ("separate", "mtz", OURS)
            ],
            "figures": [figure(row, place) for row in MACS for place in range(3)],
            "times": times(blocks(), "onnxruntime"),
        }
    )


def test_times_are_medians_of_blocks_with_their_range(results: Results) -> None:
    found = results.time("separate", "onnxruntime", "B")
    assert found["ms"] == pytest.approx(3.0) and found["runs"] == 70 and found["steady"]
    assert found["blocks"] == pytest.approx([3.0 * factor for factor in SPREAD])
    assert 3.0 * 0.97 <= found["low"] < 3.0 < found["high"] <= 3.0 * 1.03


def test_means_are_over_task_sets_and_block_by_block(results: Results) -> None:
    assert results.mean(OURS, "onnxruntime", results.of_size(1), "macs") == pytest.approx(100_000)
    assert results.mean("separate", "onnxruntime", results.sets, "macs") == pytest.approx(800_000 / 3)
    assert results.expected("separate", "onnxruntime", results.of_size(1)).value == pytest.approx(2.0)
    assert results.expected(OURS, "onnxruntime", results.sets).value == pytest.approx(1.0)
    assert results.accuracy(OURS, "onnxruntime") == pytest.approx(85.5)


def test_rows_are_compared_block_by_block(results: Results) -> None:
    # The blocks' own spread is the same for both rows, so it leaves no trace in the change.
    change = results.change(OURS, "separate", "onnxruntime", ["A+B"])
    assert change.value == pytest.approx(-0.75) and change.high - change.low < 1e-9
    assert results.change(OURS, "separate", "onnxruntime", results.of_size(1)).value == pytest.approx(-0.5)
    assert results.noise("onnxruntime") == pytest.approx(0.1)


def test_the_page_says_what_the_file_says(results: Results) -> None:
    text = page(results, "plot.svg")
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    heads = next(line for line in table if "accuracy, %" in line)
    ours = dict(zip(heads, next(line for line in table if line[:2] == ["pamc, share", "85.50"]), strict=True))
    assert ours["MACs, k, one task"] == "100.0" and ours["MACs, k, all tasks"] == "140.0"
    assert ours["MACs, k, mean of sets"] == "113.3"
    assert ours["ms, all tasks"].startswith("1.0000 (0.9") and ours["ms, one task"].startswith("1.0000")
    assert ours["files, kB"] == "7.0" and ours["one task, kB"] == "1.5"
    assert ours["memory, KiB, one task"] == "150" and ours["memory, KiB, all tasks"] == "300"
    assert ["separate", "-50.0% (-50.0% to -50.0%)", "-75.0% (-75.0% to -75.0%)", "-62.5% (-62.5% to -62.5%)"] in table
    assert ["A+B", "4.0000", "1.0000"] in table and ["A+B", "400.0", "140.0"] in table
    assert ["pamc, share", "25.0", "35.0", "28.3"] in table and ["separate", "–", "–", "–"] in table
    assert "next to nothing takes 7.2 µs" in text
    assert "a machine, load 1.2 afterwards." in text
    assert "*MTZ*" in text and "**Not measured: no network kept the budget.**" in text
    assert "![time by number of tasks](plot.svg)" in text and "    python benchmarks/suites/peers digits" in text


def test_the_plot_has_every_row_where_it_belongs(results: Results) -> None:
    drawn = str(time_plot(results))
    ElementTree.fromstring(drawn)  # noqa: S314 (our own drawing)
    assert "pamc, share, onnxruntime: 1.0000, 1.0000 ms" in drawn
    assert "separate, onnxruntime: 2.0000, 4.0000 ms" in drawn
    # Higher is slower: for two tasks the separate networks lie above pamc's.
    tops = [float(y) for y in re.findall(r'<rect x="[\d.]+" y="([\d.]+)"', drawn)[:2]]
    circles = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)[:2]]
    assert tops[1] < tops[0] < circles[1] and circles[0] == pytest.approx(circles[1])


def test_every_row_has_a_look_of_its_own() -> None:
    assert {*STYLES} == {*rows("share")}
    assert len({*STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("change", [{"schema": SCHEMA + 1}, {"kind": "other"}])
def test_files_of_other_kinds_are_refused(results: Results, change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(json.dumps(results.held))
    assert read(path).held == json.loads(json.dumps(results.held))
    path.write_text(json.dumps({**results.held, **change}))
    with pytest.raises(ValueError, match="no results of this suite"):
        read(path)
