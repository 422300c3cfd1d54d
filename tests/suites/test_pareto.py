"""Curves over budgets: which results make one, where its points are, and how it is drawn and told."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.suites.paper.cli import main
from benchmarks.suites.paper.pareto import Curves, curves, with_suites
from benchmarks.suites.paper.plots import STYLES, pareto_plot
from benchmarks.suites.paper.results import Results
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.tables import render
from tests.browser import measured_in_a_browser
from tests.suites.made import cell, held, missed

T_1 = 12.7062  # t(0.975, 1)


def written(folder: Path, results: Results, name: str = "") -> Path:
    """The file of results, named as the suites name it."""
    own = results.budget == 1.0
    path = folder / f"{name or 'paper-table' + ('' if own else f'-drop-{results.budget:g}')}.json"
    path.write_text(json.dumps(results.held))
    return path


def own() -> Results:
    """One point to lose: B1 with two seeds, PAM with one."""
    return held(
        cell("b1", 0, (30, 20, 50), (96, 94)),
        cell("b1", 1, (40, 40, 80), (95, 94)),
        cell("pam", 0, (24, 24, 42), (96, 95)),
    )


def other(budget: float = 5.0) -> Results:
    """Another budget: B1 with one seed of two, PAM, and a row that the suite's own results lack."""
    return held(
        cell("b1", 0, (6, 6, 12), (90, 92)),
        missed("b1", 1),
        cell("pam", 0, (4, 4, 7), (91, 92)),
        cell("b2-concat", 0, (5, 5, 5), (91, 92)),
        missed("branch", 0),
        budget=budget,
    )


def drawn(folder: Path, *others: Results) -> Curves:
    path = written(folder, own())
    for results in others:
        written(folder, results)
    return curves(path)["taylor"]


def test_a_point_is_the_mean_of_a_budgets_seeds(tmp_path: Path) -> None:
    made = drawn(tmp_path, other(), other(0.5))
    assert [results.budget for results in made.budgets] == [0.5, 1.0, 5.0]
    assert made.rows == ("b1", "b2-concat", "pam", "branch") and made.file == "paper-table-taylor-pareto.svg"
    low, middle, high = made.points("b1")
    # Means of all three task sets, 100 / 3 and 160 / 3, and their mean; s / sqrt 2 is half the difference.
    assert middle.cost.value == pytest.approx(130 / 3)
    assert middle.cost.half == pytest.approx(T_1 * 10, rel=1e-4)
    assert (middle.accuracy.value, middle.accuracy.half) == (94.75, pytest.approx(T_1 * 0.25, rel=1e-4))
    assert (low, low.cost.value, low.cost.half, low.accuracy.value) == (high, 8.0, None, 91.0)
    assert [point.cost.value for point in made.points("pam")] == [5.0, 30.0, 5.0]
    assert len(made.points("b2-concat")) == 2 and made.points("branch") == ()
    assert made.unpruned.cost.value == pytest.approx(400 / 3) and made.unpruned.accuracy.value == 96.0


def _setup(held: dict[str, Any]) -> None:
    held["setup"]["finetune"] = 4


def _networks(held: dict[str, Any]) -> None:
    held["setup"]["networks"]["epochs"] = 2


def _scale(held: dict[str, Any]) -> None:
    held["scale"] = "full"


def _version(held: dict[str, Any]) -> None:
    held["version"] = 2


def _suite(held: dict[str, Any]) -> None:
    held["suite"] = "mnist-5"


def _merge(held: dict[str, Any]) -> None:
    for made in held["cells"]:
        made["merge"]["options"] = {"shared": 0.5}


def _prune(held: dict[str, Any]) -> None:
    for made in held["cells"]:
        made["prune"]["options"] = {"step": 0.5}


@pytest.mark.parametrize("change", [_setup, _networks, _scale, _version, _suite, _merge, _prune])
def test_results_of_other_settings_are_left_out(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    different = other(9.0)
    change(different.held)  # type: ignore[arg-type]
    assert [results.budget for results in drawn(tmp_path, different, other()).budgets] == [1.0, 5.0]


def test_two_other_budgets_must_agree_on_what_the_suite_lacks(tmp_path: Path) -> None:
    different = other(9.0)
    different.held["cells"][3]["merge"] = {"method": "concat", "options": {"more": 1}}
    assert [results.budget for results in drawn(tmp_path, other(), different).budgets] == [1.0, 5.0]


def test_the_suites_own_results_stand_for_their_budget(tmp_path: Path) -> None:
    again = held(cell("b1", 0, (1, 1, 1), (50, 50)))
    written(tmp_path, again, "paper-table-drop-1")
    made = drawn(tmp_path, other())
    assert len(made.budgets) == 2 and made.points("b1")[0].cost.value == pytest.approx(130 / 3)


def test_one_budget_is_no_curve(tmp_path: Path) -> None:
    path = written(tmp_path, own())
    assert curves(path) == {}
    lone = written(tmp_path, held(cell("b2-mtz", 0, (6, 6, 12), (90, 92)), missed("pam", 0), budget=5.0))
    assert curves(path) == {}, "no row has two points"
    written(tmp_path, other(3.0))
    assert {*curves(path)} == {"taylor"} and curves(lone) == {}
    assert with_suites([lone]) == (lone, path) and with_suites([path, lone]) == (path, lone)
    path.unlink()
    assert with_suites([lone]) == (lone,)


NUMBERS = re.compile(r'(?<= )(x1|y1|x2|y2|cx|cy|x|y)="([-0-9.]+)"')


def lines(drawing: str, css: str) -> list[dict[str, float]]:
    """The ends of the lines of a class."""
    return [
        {name: float(value) for name, value in NUMBERS.findall(line)}
        for line in re.findall(r"<line [^>]*>", drawing)
        if f'class="{css}"' in line
    ]


def test_equal_ratios_of_cost_are_equally_far_apart_and_bars_end_at_the_frame(tmp_path: Path) -> None:
    made = drawn(tmp_path, other(), other(0.5))
    drawing = str(pareto_plot(made))
    (axis, *_) = [line for line in lines(drawing, "axis") if line["y1"] == line["y2"]]
    first, second = lines(drawing, "join c0")
    # 8 to 130 / 3 MFLOPs and back, and the unpruned 400 / 3.
    assert (first["x1"], first["x2"]) == (second["x2"], second["x1"])
    (whole,) = re.findall(r'<circle cx="([-0-9.]+)" cy="([-0-9.]+)" r="6" class="whole"/>', drawing)
    decade = (float(whole[0]) - first["x1"]) / math.log10(400 / 3 / 8)
    assert first["x2"] - first["x1"] == pytest.approx(decade * math.log10(130 / 3 / 8), abs=0.05)
    # Up is more accurate: 91, 94.75 and 96 %.
    assert first["y1"] - first["y2"] == pytest.approx((first["y1"] - float(whole[1])) * 3.75 / 5, abs=0.05)
    # Two seeds of one point have bars: 43 +- 127 MFLOPs, cut at the left, and 94.75 +- 3.18 %.
    across, up = lines(drawing, "whisker c0")
    assert across["x1"] == axis["x1"] and across["y1"] == across["y2"] == first["y2"]
    assert across["x2"] - first["x2"] == pytest.approx(decade * math.log10((130 / 3 + 127.06) * 3 / 130), abs=0.05)
    assert up["x1"] == up["x2"] == first["x2"] and up["y1"] > first["y2"] > up["y2"]
    assert len(re.findall("whisker c", drawing.split("</style>")[-1])) == 2, "one seed has no bars"
    assert axis["x1"] < across["x2"] < axis["x2"] and "branch" not in drawing


def test_a_wide_interval_does_not_press_the_curves_together(tmp_path: Path) -> None:
    wide = held(cell("pam", 0, (4, 4, 7), (70, 96)), cell("pam", 1, (4, 4, 7), (96, 92)), budget=5.0)
    drawing = str(pareto_plot(drawn(tmp_path, wide)))
    (joined,) = lines(drawing, "join c2")
    assert max(line["y1"] for line in lines(drawing, "whisker c2")) == 452.0, "cut at the frame"
    assert abs(joined["y1"] - joined["y2"]) > 0.5 * (452 - 72)


@pytest.mark.parametrize(
    ("flops", "ticks"),
    [((0.3, 0.3, 0.6), ["0.5", "1", "2", "5", "10", "20", "50", "100", "200"]), ((95, 95, 190), ["125", "130", "135"])],
)
def test_the_axis_of_cost_has_round_numbers(
    flops: tuple[float, float, float], ticks: list[str], tmp_path: Path
) -> None:
    row = held(cell("b1", 0, (99, 99, 198), (96, 95)))
    path = written(tmp_path, row)
    written(tmp_path, held(cell("b1", 0, flops, (95, 95)), budget=5.0))
    drawing = str(pareto_plot(curves(path)["taylor"]))
    assert re.findall(r'text-anchor="middle" class="value">([^<]*)<', drawing) == ticks


PROBE = """
  const svg = document.querySelector("svg"), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const texts = [...document.querySelectorAll("text")].map((item) => {
    const box = item.getBoundingClientRect();
    const size = scale * parseFloat(getComputedStyle(item).fontSize);
    return [item.textContent, size, box.left, box.top, box.right, box.bottom];
  });
  const colours = [getComputedStyle(svg).backgroundColor, getComputedStyle(document.querySelector("text")).fill];
  return { texts, colours, height: svg.getBoundingClientRect().height };
"""


@pytest.mark.parametrize(("width", "dark", "least"), [(375, False, 11.0), (1200, True, 21.0)])
def test_every_word_can_be_read_on_a_phone_and_on_a_screen(
    width: int, dark: bool, least: float, tmp_path: Path
) -> None:
    made = held(*(cell(row, 0, (9 + n, 9 + n, 20), (96 + n / 9, 96)) for n, row in enumerate(ROWS)))
    path = written(tmp_path, made)
    written(tmp_path, held(*(cell(row, 0, (1, 1, 2 + n), (95.2, 96)) for n, row in enumerate(ROWS)), budget=5.0))
    drawing = str(pareto_plot(curves(path)["taylor"]))
    if dark:
        drawing = drawing.replace("prefers-color-scheme:dark", "min-width:1px")
    seen = measured_in_a_browser(f'<body style="margin:0">{drawing}</body>', PROBE, width, tmp_path)
    dark_colours, light_colours = ["rgb(20, 24, 28)", "rgb(227, 231, 235)"], ["rgb(255, 255, 255)", "rgb(29, 35, 42)"]
    assert seen["colours"] == (dark_colours if dark else light_colours)
    texts: Any = seen["texts"]
    height = float(str(seen["height"]))
    assert {text for text, *_ in texts} >= {*(ROWS[row].label for row in STYLES), "as trained"}
    for number, (text, size, left, top, right, bottom) in enumerate(texts):
        assert size >= least, text
        assert left >= 0 and right <= width and top >= 0 and bottom <= height, text
        for beside, _, x, y, end, below in texts[:number]:
            overlap = min(right, end) - max(left, x), min(bottom, below) - max(top, y)
            assert min(overlap) <= 1, (text, beside, overlap)


def test_the_page_tells_the_figures_and_commands_of_all_budgets(tmp_path: Path) -> None:
    made = drawn(tmp_path, other())
    page = render(own(), {}, {"taylor": made})
    section = page[page.index("### All budgets") : page.index("### Expected and got")]
    assert "![accuracy against expected cost](paper-table-taylor-pareto.svg)" in section
    assert "in this order: 1, 5 points" in section and "of the suite's own budget, 1." in section
    assert section.index("|") > section.index(".svg")
    assert [line for line in section.splitlines() if line.startswith("|")][2:] == [
        "| as trained | – | 2 | 133.333 | 96.00 ± 0.00 |",
        "| B1 alone | 1 | 2 | 43.333 ± 127.062 | 94.75 ± 3.18 |",
        "| B1 alone | 5 | 1 of 2 | 8.000 | 91.00 |",
        "| B2 concat | 5 | 1 | 5.000 | 91.50 |",
        "| PAM | 1 | 1 | 30.000 | 95.50 |",
        "| PAM | 5 | 1 | 5.000 | 91.50 |",
        "| branch | 5 | 0 of 1 | – | – |",
    ]
    assert "    command of 1  # 1\n    command of 5  # 5\n" in section
    assert "All budgets" not in render(own(), {}, {})


def test_a_budgets_results_are_added_to_the_page_of_their_suite(tmp_path: Path) -> None:
    def rendered(path: Path) -> dict[str, bytes]:
        answer = CliRunner().invoke(main, ["render", str(path)])
        assert answer.exit_code == 0, answer.output
        return {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.suffix != ".json"}

    path = written(tmp_path, own())
    assert {*rendered(path)} == {
        "paper-table.md",
        "paper-table-taylor-cost.svg",
        "paper-table-taylor-accuracy.svg",
    }
    made = rendered(written(tmp_path, other()))
    assert {*made} >= {"paper-table-drop-5.md", "paper-table-taylor-pareto.svg"}
    assert b"taylor-pareto.svg" in made["paper-table.md"] and b"pareto" not in made["paper-table-drop-5.md"]
    assert rendered(path) == made
