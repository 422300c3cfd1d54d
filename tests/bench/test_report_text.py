"""The report as Markdown and on the terminal."""

import re
from dataclasses import replace

import pytest

from pamc.bundle.manifest import Amounts, Manifest, Method, TaskSetEntry
from pamc_bench.figures import Change, drop, expected_macs
from pamc_bench.report import render_markdown, render_terminal
from pamc_bench.wording import change_text, count_text, scale_for, summary
from tests.bench.manifests import digits, rename, sets_of, without_baseline

MINUS = "\N{MINUS SIGN}"


def sections(text: str) -> dict[str, list[dict[str, str]]]:
    """Rows of the tables of a Markdown text by heading."""
    found: dict[str, list[dict[str, str]]] = {}
    heading, heads = "", None
    for line in text.splitlines():
        if line.startswith("#"):
            heading, heads = line.lstrip("# "), None
        elif line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if heads is None:
                heads = cells
            elif not set(line) <= set("|-: "):
                assert len(cells) == len(heads)
                found.setdefault(heading, []).append(dict(zip(heads, cells, strict=True)))
    return found


def number(text: str) -> float:
    return float(text.replace(",", "").replace(MINUS, "-"))


def test_markdown_has_the_exact_figures() -> None:
    manifest = digits()
    tables = sections(render_markdown(manifest))
    assert manifest.latency is not None
    macs, params = ({row["task set"]: row for row in tables[title]} for title in ("MACs", "Parameters"))
    for name, entry in manifest.task_sets.items():
        for rows, amounts in ((macs, entry.macs), (params, entry.params)):
            assert number(rows[name]["separate"]) == amounts.separate
            assert number(rows[name]["pruned separately"]) == amounts.pruned_separately
            assert number(rows[name]["bundle"]) == amounts.bundle
    for row in tables["Latency, median in ms"]:
        timing = manifest.latency.sets[row["task set"]]
        assert number(row["bundle"]) == pytest.approx(timing["bundle"].p50_ms, abs=5e-5)
        assert number(row["pruned separately"]) == pytest.approx(timing["pruned_separately"].p50_ms, abs=5e-5)
    assert len(tables["Scores"]) == 12
    for row in tables["Scores"]:
        score = manifest.task_sets[row["task set"]].scores[row["task"]]
        assert (number(row["separate"]), number(row["bundle"])) == (score.separate, score.bundle)
        assert number(row["drop"]) == pytest.approx(score.separate - score.bundle)
    for row in tables["Units by owners"]:
        space = row.pop("channel space")
        assert {name: int(n) for name, n in row.items() if n != "0"} == manifest.owners[space]
    assert {row["task set"]: number(row["onnx, bytes"]) for row in tables["Size"]} == {
        name: entry.bytes["onnx"] for name, entry in manifest.task_sets.items()
    }


def test_markdown_marks_what_costs_more() -> None:
    rows = {row["task set"]: row["vs pruned separately"] for row in sections(render_markdown(digits()))["MACs"]}
    assert rows["digit"] == "**▲ +12 %**" and rows["slant"] == f"▼ {MINUS}3.0 %"
    assert rows["*expected*"] == f"▼ {MINUS}15 %"


@pytest.mark.parametrize("render", [render_markdown, render_terminal])
def test_missing_parts_leave_no_trace(render: object) -> None:
    manifest = replace(without_baseline(digits()), latency=None)
    bare = {name: replace(entry, scores={}, bytes={}) for name, entry in manifest.task_sets.items()}
    text = render(replace(manifest, task_sets=bare, tasks=manifest.tasks))  # type: ignore[operator]
    for word in ("None", "nan", "pruned", "atency", "Score", "→", "size", "Size"):
        assert word not in text, word
    assert f"{MINUS}32 %" in text and "vs separate" in text


def test_markdown_escapes_names() -> None:
    name = "a|b`c`<img src=x>_d_ *e* [f](g)\n# h\\"
    text = render_markdown(replace(rename(digits(), {"digit": name}), name=name))
    assert "<img" not in text and "\n# h" not in text.replace("# a", "", 1)
    for row in sections(text)["MACs"]:
        assert len(row) == 5
    assert r"a\|b\`c\`&lt;img src=x&gt;\_d\_ \*e\* \[f\](g) \# h\\" in text
    assert "head_pose" in render_markdown(replace(digits(), name="head_pose"))


def table_lines(text: str, title: str) -> list[str]:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if title in line)
    return lines[start + 3 : lines.index("", start)]


def test_the_terminal_shows_the_figures_of_every_set() -> None:
    manifest = digits()
    text = render_terminal(manifest)
    assert max(map(len, text.splitlines())) <= 100 and "\x1b" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    rows = [re.split(r"\s{2,}", line) for line in table_lines(text, "MACs, thousands")]
    assert [row[0] for row in rows] == sets_of(["digit", "stroke", "slant"])
    for name, *cells in rows:
        entry = manifest.task_sets[name]
        shown = [number(cell) * 1e3 for cell in (*cells[:3], *cells[4:7])]
        amounts = [*vars_of(entry.macs), *vars_of(entry.params)]
        assert shown == pytest.approx(amounts, rel=0.006)
        assert cells[3][0] == ("▲" if entry.macs.bundle > (entry.macs.pruned_separately or 0) else "▼")
    rows = [re.split(r"\s{2,}", line) for line in table_lines(text, "latency, median, ms")]
    assert manifest.latency is not None
    for name, *cells in rows:
        assert number(cells[2]) == pytest.approx(manifest.latency.sets[name]["bundle"].p50_ms, abs=5.1e-4)
        assert number(cells[4]) * 1e3 == pytest.approx(manifest.task_sets[name].bytes["onnx"], abs=51)


def vars_of(amounts: Amounts) -> list[int]:
    assert amounts.pruned_separately is not None
    return [amounts.separate, amounts.pruned_separately, amounts.bundle]


def test_the_terminal_puts_scores_under_their_task() -> None:
    lines = render_terminal(digits()).splitlines()
    head = next(line for line in lines if "stroke: accuracy, %" in line)
    row = next(line for line in lines if line.startswith("stroke+slant ") and "→" in line)
    assert row[head.index("digit: ") : head.index("digit: ") + 19].strip() == ""
    assert f"95.08 → 94.26  0.82   94.17 → 94.33  {MINUS}0.16" in row
    assert row.rindex("0.82") + 4 == head.index("stroke: accuracy, %") + len("stroke: accuracy, %")


def test_colour_is_only_added() -> None:
    plain, coloured = (render_terminal(digits(), color=color) for color in (False, True))
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    assert "\x1b[31m▲ +12 %\x1b[0m" in coloured and f"\x1b[32m▼ {MINUS}38 %\x1b[0m" in coloured


def _wide() -> Manifest:
    tasks = ["age_estimation", "gender", "eyeglasses_or_sunglasses", "head_pose", "smile"]
    base = digits()
    entry = base.task_sets["digit"]

    def entry_of(name: str) -> TaskSetEntry:
        return replace(entry, scores=dict.fromkeys(name.split("+"), entry.scores["digit"]))

    names = sets_of(tasks)
    return replace(
        base,
        tasks=tuple(replace(base.tasks[0], name=task) for task in tasks),
        task_sets={name: entry_of(name) for name in names},
        workload=dict.fromkeys(names, 1 / 31),
        owners={},
        verification=(),
        latency=None,
    )


def test_many_long_names_fit_too() -> None:
    text = render_terminal(_wide())
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("98.42 → 98.13") == 5 * 16
    assert "31 of 31 task sets take more MACs than the networks pruned one by one: at most +12 %" in " ".join(
        text.split()
    )


def test_a_name_cannot_steer_the_terminal() -> None:
    manifest = rename(digits(), {"digit": "d\x1b[2Jx\n\r\x9b1m"})
    manifest = replace(manifest, name="n\x1b]0;t\x07", latency=None)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", render_terminal(manifest))


def test_an_excess_is_called_over() -> None:
    manifest = digits()
    tight = replace(manifest, tasks=tuple(replace(task, max_drop=0.5) for task in manifest.tasks))
    assert render_terminal(manifest).count("OVER") == 0
    assert render_terminal(tight).count("0.82 OVER") == 4
    assert render_markdown(tight).count("**over budget**") == 4


def test_a_drop_equal_to_the_budget_is_within_it() -> None:
    manifest = digits()
    scores = replace(manifest.task_sets["digit"].scores["digit"], separate=98.4, bundle=97.6)
    entry = replace(manifest.task_sets["digit"], scores={"digit": scores})
    tasks = (replace(manifest.tasks[0], max_drop=0.8),)
    manifest = replace(manifest, tasks=tasks, task_sets={"digit": entry}, workload={"digit": 1.0}, owners={})
    assert 98.4 - 97.6 > 0.8 and "OVER" not in render_terminal(manifest)
    assert summary(manifest).startswith(
        "digit alone: 282 k MACs, 68 % of the network as it is, 112 % of the same network"
    )
    assert "It takes 0.068 ms on the machine of the build; the network 0.081 ms as it is" in summary(manifest)


def test_nothing_lost_is_said_plainly() -> None:
    manifest = digits()
    entries = {
        name: replace(entry, scores={k: replace(s, bundle=s.separate) for k, s in entry.scores.items()})
        for name, entry in manifest.task_sets.items()
    }
    assert "No accuracy is lost." in summary(replace(manifest, task_sets=entries))


def test_a_workload_beyond_the_task_sets_is_admitted() -> None:
    manifest = digits()
    sets = {name: manifest.task_sets[name] for name in ("digit", "stroke")}
    part = replace(manifest, task_sets=sets, workload={"digit": 0.3, "slant": 0.7})
    found = expected_macs(part)
    assert found is not None and found.coverage == pytest.approx(0.3)
    assert found.by_variant["bundle"] == manifest.task_sets["digit"].macs.bundle
    assert "(30 % of it in the task sets listed)" in render_markdown(part)
    assert expected_macs(replace(part, workload={"slant": 1.0})) is None
    render_terminal(replace(part, workload={"slant": 1.0}))


def test_a_baseline_for_some_sets_only() -> None:
    manifest = digits()
    entry = manifest.task_sets["digit"]
    entries = {**manifest.task_sets, "digit": replace(entry, macs=replace(entry.macs, pruned_separately=None))}
    rows = {r["task set"]: r for r in sections(render_markdown(replace(manifest, task_sets=entries)))["MACs"]}
    assert (rows["digit"]["pruned separately"], rows["digit"]["vs pruned separately"]) == ("–", "–")
    assert rows["*expected*"]["pruned separately"] == "–" and rows["stroke"]["vs pruned separately"] == "**▲ +12 %**"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.12, "▲ +12 %"),
        (-0.354, f"▼ {MINUS}35 %"),
        (0.0949, "▲ +9.5 %"),
        (0.0996, "▲ +10 %"),
        (0.00003, "▲ +<0.1 %"),
        (0.0, "= same"),
    ],
)
def test_changes_in_words(fraction: float, text: str) -> None:
    assert change_text(Change(fraction, "separate")) == text


def test_units() -> None:
    assert [count_text(v) for v in (999, 1_000, 999_949, 1_249_560, 3.1e9)] == ["999", "1 k", "1 M", "1.25 M", "3.1 G"]
    assert scale_for("count", [2_500_000, 40_000_000]).text(40_000_000) == "40.00"
    assert scale_for("bytes", [900, 5_000]).unit == "B" and scale_for("bytes", [1_500]).unit == "kB"
    assert scale_for("latency", [0.0213, 14.0]).text(14.0) == "14.000"
    assert scale_for("count", []).text(0) == "0"
    assert (drop("accuracy", 98.0, 97.0), drop("mae", 2.0, 2.5)) == (1.0, 0.5)


def test_method_and_origin_are_told() -> None:
    text = render_markdown(replace(digits(), prune=Method("vib", {"beta": 0.1}, {"macs": 0.4})))
    assert "- prune: vib (beta 0.1), budget macs 0.4" in text and "- seed: 7" in text
    assert "    pamc build examples/digits/model.yaml --target arm64" in text
    assert "prune 2.2 min" in text
