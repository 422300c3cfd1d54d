"""Comparisons: what belongs together, what intervals decide, and what is refused."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from pamc.errors import ConfigError, GoalMissedError
from pamc_bench.compare import compare, compare_baseline, refuse_missed
from pamc_bench.goals import Goal, judge, parse_goals
from pamc_bench.results import Result
from pamc_bench.stats import Interval
from pamc_bench.table import comparison_table, result_table
from tests.bench.results import SETS, device, result

PAIR = ("old", "new")


def together(factor: float, blocks: int = 20, **options: float) -> Result:
    return result(
        PAIR, slower=lambda name, _: factor if name == "new" else 1.0, blocks=blocks, baseline="old", **options
    )  # type: ignore[arg-type]


def shown(renderable: object) -> str:
    console = Console(width=400, color_system=None, record=True, file=StringIO())
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.031, 0.05, "missed"), (-0.01, 0.03, "met"), (0.03, 0.05, "undecided"), (0.01, 0.04, "undecided")],
)
def test_the_interval_decides(low: float, high: float, verdict: str) -> None:
    assert judge(Interval((low + high) / 2, low, high, 0.95), 0.03) == verdict


def test_goals_in_words() -> None:
    assert parse_goals(["slower=3%", "memory=10 %, instructions=0.5%"]) == (
        Goal("slower", 0.03),
        Goal("memory", 0.1),
        Goal("instructions", 0.005),
    )
    assert str(Goal("slower", 0.03)) == "slower=3%"


@pytest.mark.parametrize(
    ("text", "said"),
    [("slowr=3%", "did you mean 'slower'"), ("slower=3", "percent"), ("slower", "percent"), ("slower=-3%", "percent")],
)
def test_goals_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_goals([text])


def test_a_slow_down_in_the_same_rounds_is_missed_although_the_machine_drifts() -> None:
    found = compare_baseline(together(1.05), parse_goals(["slower=3%"]))
    assert found.paired and [item.verdict for item in found.findings] == ["missed"] * len(SETS)
    for pair in found.pairs:
        assert pair.after.key.bundle == "new" and pair.before.key == replace(pair.after.key, bundle="old")
        assert 0.03 < pair.changes["slower"].low < 0.05 < pair.changes["slower"].high < 0.07
    with pytest.raises(GoalMissedError, match="3 of 3") as caught:
        refuse_missed(found)
    assert caught.value.exit_code == 6
    text = shown(comparison_table(found))
    assert "missed, even the lower bound is above 3 %" in text


def test_the_same_twice_is_met_and_an_unclear_change_is_undecided() -> None:
    goal = parse_goals(["slower=3%"])
    same = compare_baseline(together(1.0), goal)
    assert [item.verdict for item in same.findings] == ["met"] * 3
    refuse_missed(same, undecided=True)
    unclear = compare_baseline(together(1.03, blocks=6, seed=1), goal)
    assert "undecided" in {item.verdict for item in unclear.findings}
    refuse_missed(unclear)
    with pytest.raises(GoalMissedError):
        refuse_missed(unclear, undecided=True)
    assert "measure more blocks" in shown(comparison_table(unclear))


def test_exact_figures_are_compared_exactly() -> None:
    before = result()
    grown = replace(
        before.variants[0],
        counts=replace(before.variants[0].counts, classes={"fma": 1000, "load": 408}),  # type: ignore[type-var]
    )
    after = replace(before, variants=(grown, *before.variants[1:]))
    found = compare(before, after, parse_goals(["instructions=0.5%", "memory=0%"]))
    assert [(item.goal.measure, item.verdict) for item in found.findings][:4] == [
        ("instructions", "missed"),
        ("memory", "met"),
        ("instructions", "met"),
        ("memory", "met"),
    ]
    assert found.pairs[0].changes["instructions"].value == pytest.approx(8 / 1400)


def test_results_measured_apart_are_compared_block_by_block_with_a_warning() -> None:
    before, after = result(blocks=8, seed=1, noise=0.002), result(blocks=8, seed=2, noise=0.002)
    found = compare(before, after)
    assert not found.paired and any("measured apart" in note for note in found.notes)
    # Both drift by 5 % of their own accord, which the interval must know.
    assert all(pair.changes["slower"].half_width > 0.03 for pair in found.pairs)


def test_unlike_things_are_refused_unless_told() -> None:
    before = result()
    other = replace(before, devices={"adb://phone": device(model="Pixel 8")})
    other = replace(
        other, variants=tuple(replace(v, key=replace(v.key, device="adb://phone")) for v in before.variants)
    )
    with pytest.raises(ConfigError, match="do not compare") as caught:
        compare(before, other)
    assert "Raspberry Pi 4 Model B" in str(caught.value) and "--allow-unlike" in str(caught.value)
    assert compare(before, other, allow_unlike=True).pairs
    fewer = replace(before, variants=before.variants[:1])
    with pytest.raises(ConfigError, match=r"digit\+stroke"):
        compare(before, fewer)
    assert len(compare(before, fewer, allow_unlike=True).pairs) == 1
    threads = replace(before, variants=tuple(replace(v, key=replace(v.key, threads=4)) for v in before.variants))
    with pytest.raises(ConfigError, match="nothing in common"):
        compare(before, threads, allow_unlike=True)


def test_the_same_board_at_another_address_is_no_other_device() -> None:
    before = result()
    moved = replace(before, devices={"ssh://pi@other": device()})
    moved = replace(
        moved, variants=tuple(replace(v, key=replace(v.key, device="ssh://pi@other")) for v in moved.variants)
    )
    assert len(compare(before, moved).pairs) == len(SETS)


def test_times_of_an_emulator_are_never_compared() -> None:
    slow, fast = result(emulated=True, slower=lambda *_: 3.0), result(emulated=True)
    found = compare(fast, slow)
    assert all(set(pair.changes) == {"memory", "instructions"} for pair in found.pairs)
    with pytest.raises(ConfigError, match="not measured") as caught:
        compare(fast, slow, parse_goals(["slower=3%"]))
    assert "emulated" in str(caught.value)


def test_nor_in_the_same_rounds() -> None:
    found = compare_baseline(result(PAIR, baseline="old", emulated=True))
    assert len(found.pairs) == len(SETS) and all(set(p.changes) == {"memory", "instructions"} for p in found.pairs)


def test_a_goal_that_nothing_was_measured_for_is_an_error_not_a_pass() -> None:
    bare = replace(result(), variants=tuple(replace(v, counts=None) for v in result().variants))
    with pytest.raises(ConfigError, match="instructions of an inference was not measured"):
        compare(bare, bare, parse_goals(["instructions=0.5%"]))


def test_a_result_of_one_bundle_has_no_baseline() -> None:
    with pytest.raises(ConfigError, match="one bundle alone"):
        compare_baseline(result())
    with pytest.raises(ConfigError, match="compare it alone"):
        compare(together(1.0), together(1.0))


def test_doubts_are_shown_beside_the_comparison() -> None:
    shaky = together(1.0)
    shaky = replace(
        shaky, complete=False, variants=tuple(replace(v, unstable=("blocks vary by 9 %",)) for v in shaky.variants)
    )
    text = shown(comparison_table(compare_baseline(shaky)))
    assert "unstable: blocks vary by 9 %" in text and "not complete" in text
    table = shown(result_table(shaky))
    assert "UNSTABLE (digit, stroke, digit+stroke): blocks vary by 9 %" in table and "NOT COMPLETE" in table


def test_the_table_shows_no_time_of_an_emulator_and_no_control_characters() -> None:
    given = result(emulated=True)
    text = shown(result_table(given))
    assert "EMULATED" in text and "0.2" not in text and "1,400" in text
    evil = replace(given, devices={"ssh://pi@board": replace(device(), model="\x1b[2Jboard [red]x[/red]")})
    text = shown(result_table(evil))
    assert "\x1b" not in text and "[red]x[/red]" in text
