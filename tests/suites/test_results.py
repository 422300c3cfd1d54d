"""Tables, intervals and verdicts against figures worked out by hand."""

import json
from pathlib import Path

import pytest
from scipy import stats as scipy_stats

from benchmarks.suites.paper.plots import STYLES, accuracy_plot, cost_plot
from benchmarks.suites.paper.results import Results, read
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.stats import mean_of, t_quantile
from benchmarks.suites.paper.tables import render
from benchmarks.suites.paper.verdicts import verdicts
from tests.suites.made import cell, held, missed


@pytest.fixture
def results() -> Results:
    return held(
        cell("b1", 0, (30, 20, 50), (96, 94)),
        cell("b1", 1, (20, 30, 50), (96, 94)),
        cell("b2-concat", 0, (48, 48, 48), (96.2, 94.2)),
        cell("b2-concat", 1, (56, 56, 56), (96.2, 94.2)),
        cell("pam", 0, (24, 24, 40), (96, 94)),
        cell("pam", 1, (28, 28, 40), (96, 94)),
        cell("random", 0, (80, 80, 80), (96, 91)),
        cell("random", 1, (80, 80, 80), (96, 91)),
        missed("b2-mtz", 0),
    )


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 31, 200])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995])
def test_t_quantiles_are_those_of_scipy(freedom: int, probability: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(scipy_stats.t.ppf(probability, freedom), rel=1e-9)


def test_interval_is_that_of_scipy() -> None:
    values = [3.1, 2.7, 3.6, 2.2, 3.0]
    low, high = scipy_stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=scipy_stats.sem(values))
    found = mean_of(values)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert mean_of([2.0]).half is None and mean_of([2.0]).low == 2.0
    with pytest.raises(ValueError, match="no values"):
        mean_of([])


def test_means_and_ratios(results: Results) -> None:
    single, everyone = results.of_size(1), results.of_size(2)
    assert results.costs("b1", "taylor", single, "flops") == {0: 25e6, 1: 25e6}
    assert results.costs("pam", "taylor", results.everything, "macs") == pytest.approx({0: 88 / 6 * 1e6, 1: 16e6})
    assert results.ratio("b1", "pam", "taylor", everyone).value == 1.25
    assert results.ratio("b2-concat", "pam", "taylor", single).value == 2.0
    assert results.ratio("b2-concat", "pam", "taylor", single).half == 0.0
    assert results.ratio("b2-mtz", "pam", "taylor", single) is None
    assert results.accuracies("pam", "taylor", results.tasks) == {0: 95.0, 1: 95.0}
    assert results.unpruned(everyone, "flops") == 200e6


def test_ratios_are_taken_seed_by_seed() -> None:
    made = held(
        cell("b1", 0, (30, 30, 60), (96, 94)),
        cell("b1", 1, (30, 30, 60), (96, 94)),
        cell("pam", 0, (10, 10, 20), (96, 94)),
        cell("pam", 1, (30, 30, 60), (96, 94)),
        cell("pam", 2, (1, 1, 2), (96, 94)),
    )
    ratio = made.ratio("b1", "pam", "taylor", made.of_size(2))
    # 3 and 1, where the ratio of the means would be 1.5; the third seed has no partner.
    assert ratio is not None and (ratio.value, ratio.count) == (2.0, 2)


def test_only_equal_accuracies_are_compared(results: Results) -> None:
    assert results.matched("b2-concat", "pam", "taylor")
    assert results.gap("random", "pam", "taylor").value == -1.5
    assert not results.matched("random", "pam", "taylor")
    claims = [(v.claim, v.word) for v in verdicts(results, "taylor")]
    words = {(claim.row, claim.other, claim.sets, claim.least): word for claim, word in claims}
    assert words["b1", "pam", "all", 1.0] == "holds"
    assert words["b2-concat", "pam", "one", 1.0] == "holds"
    assert words["b2-concat", "pam", "one", 2.01] == "does not hold"
    assert words["random", "pam", "every", 1.0] == "not matched"
    assert words["b2-mtz", "pam", "one", 1.0] == "no answer: B2 MTZ missed the budget"
    # 25 / 24 and 25 / 28: below 1 on average, above 0.95 on average, and the interval is wide.
    assert words["b1", "pam", "one", 0.95] == "holds on average"
    assert ("b1", "pam", "all", 4.87) not in words, "that claim is about five tasks"


def test_a_claim_can_fail() -> None:
    found = verdicts(held(cell("b1", 0, (20, 20, 30), (96, 94)), cell("pam", 0, (24, 24, 40), (96, 94))), "taylor")
    assert {verdict.word for verdict in found} == {"does not hold"}


def test_page_shows_the_figures(results: Results) -> None:
    page = render(results, {"taylor": {"cost": "cost.svg"}}, {})
    lines = page.splitlines()
    (heads,) = (line for line in lines if line.startswith("| task set") and "≠" in line and "PAM" not in line)
    assert "random ≠" in heads and "B2 concat ≠" not in heads and "B2 MTZ ≠" in heads
    costs = lines[lines.index("### FLOPs, millions") :]
    assert costs[2].startswith("| task set | as trained | B1 alone | B2 concat | B2 MTZ | PAM | random |")
    # Half the interval of 48 and 56: t(0.975, 1) = 12.706 times s / sqrt 2 = 4.
    assert costs[6] == "| A+B | 200.000 | 50.000 ± 0.000 | 52.000 ± 50.825 | – | 40.000 ± 0.000 | 80.000 ± 0.000 |"
    assert costs[7].startswith("| mean of all sets | 133.333 | 33.333 ± 0.000 |")
    assert "No network within the budget, seeds: B2 MTZ (1)." in page
    assert "![cost](cost.svg)" in page


def test_page_draws_the_owners_of_the_first_seed_of_what_is_ours() -> None:
    owners = {"conv1": {"A+B": 1, "B": 2}}, {"conv1": {"A": 3}}
    cells = [cell("pam", seed, (24, 24, 40), (96, 94)) | {"owners": owners[seed]} for seed in (0, 1)]
    page = render(held(cell("b1", 0, (30, 20, 50), (96, 94)) | {"owners": owners[1]}, *cells), {}, {})
    picture = page[page.index("### Who owns what") : page.index("## Methods")].splitlines()
    assert picture[4:] == ["PAM:", "", "```text", "conv1: 3 units", "  A  █··  1", "  B  ███  3", "```", ""]


def test_page_tells_what_sharing_could_gain() -> None:
    # Each set at the cost of its dearest task: 40, 20, 40 where B1 takes 40, 20, 60.
    made = held(cell("b1", 0, (40, 20, 60), (96, 94)), cell("share", 0, (40, 20, 45), (96, 94)))
    page = render(made, {}, {})
    assert "would take 0.83 of B1's FLOPs in the mean of all sets. share takes 0.88: 75 % of that saving." in page


def test_many_tasks_are_shown_by_size() -> None:
    tasks = list("abcd")
    made = held(cell("b1", 0, (1, 1, 1), (1, 1)) | {"tasks": tasks})
    assert [(view.label, len(view.sets)) for view in made.views] == [
        *((task, 1) for task in tasks),
        ("mean of 6 sets of 2", 6),
        ("mean of 4 sets of 3", 4),
        ("all tasks", 1),
    ]
    assert len(made.everything.sets) == 15


def test_plots_stand_alone_and_follow_the_theme(results: Results) -> None:
    for draw in (cost_plot, accuracy_plot):
        drawn = str(draw(results, "taylor"))
        assert drawn.startswith("<svg xmlns=") and "prefers-color-scheme:dark" in drawn
        assert all(ROWS[row].label in drawn for row in ("b1", "b2-concat", "pam"))
    assert "tasks that run" in str(cost_plot(results, "taylor"))
    assert STYLES.keys() == ROWS.keys() and len({*STYLES.values()}) == len(ROWS)


def test_results_files_are_read_again(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text(json.dumps(results.held))
    assert render(read(path), {}, {}) == render(results, {}, {})
