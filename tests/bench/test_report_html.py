"""The HTML report: its figures, its marks, its safety."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pamc.bundle.manifest import Latency, Manifest, Scores
from pamc_bench.plots import HUES, owner_keys, owners_plot
from pamc_bench.report import render_html
from tests.bench.manifests import digits, rename, timing, without_baseline

HOSTILE = "\"><script>alert(1)</script>&'{{7*7}}"
VOID = {"meta", "wbr", "br", "link", "img", "input"}


class Page(HTMLParser):
    """Text, tags and the cells of the task-set table, and whether tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.cells: dict[tuple[str, str], dict[str, object]] = {}
        self.tables: list[str | None] = []
        self.words: list[str] = []
        self._row = ""
        self._task = ""
        self._key = ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append(found.get("id"))
        if "data-set" in found:
            self._row, self._task = str(found["data-set"]), ""
        if "data-task" in found:
            self._task = str(found["data-task"])
        if "data-key" in found:
            self._key, self._task = str(found["data-key"]), ""
            self.cells[self._row, self._key] = {"value": None, "marks": [], "text": ""}
        if tag == "data" and "task-sets" in self.tables:
            if self._task:
                cell = self.cells.setdefault((self._row, f"score.{self._task}"), {"value": []})
                cell["value"].append(float(str(found["value"])))  # type: ignore[attr-defined]
            elif self._key:
                self.cells[self._row, self._key]["value"] = float(str(found["value"]))
        if tag == "span" and str(found.get("class", "")).startswith("mark") and self._key:
            self.cells[self._row, self._key]["marks"].append(found["class"])  # type: ignore[attr-defined]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag
        if tag == "td":
            self._key = ""
        if tag == "table":
            self.tables.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)
        if self._key and (self._row, self._key) in self.cells:
            self.cells[self._row, self._key]["text"] = str(self.cells[self._row, self._key]["text"]) + data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(manifest: Manifest, **plans: str) -> Page:
    return Page(render_html(manifest, plans))


def test_the_figures_are_those_of_the_manifest() -> None:
    manifest = digits()
    cells = page(manifest).cells
    assert manifest.latency is not None
    for name, entry in manifest.task_sets.items():
        for variant in ("separate", "pruned_separately", "bundle"):
            assert cells[name, f"macs.{variant}"]["value"] == getattr(entry.macs, variant)
            assert cells[name, f"params.{variant}"]["value"] == getattr(entry.params, variant)
            assert cells[name, f"latency.{variant}"]["value"] == manifest.latency.sets[name][variant].p50_ms
        assert cells[name, "bytes.onnx"]["value"] == entry.bytes["onnx"]
        for task, score in entry.scores.items():
            assert cells[name, f"score.{task}"]["value"] == [score.separate, score.bundle]
        assert {key for row, key in cells if row == name and key.startswith("score.")} == {
            f"score.{task}" for task in name.split("+")
        }


def test_the_shown_text_is_the_value_in_the_unit_of_the_column() -> None:
    manifest = digits()
    cells = page(manifest).cells
    for (row, key), cell in cells.items():
        if key.startswith("score."):
            continue
        shown = float(re.match(r"[\d,.]+", str(cell["text"]).strip())[0].replace(",", ""))  # type: ignore[index]
        unit = 1.0 if key.startswith("latency") else 1e3
        assert shown * unit == pytest.approx(cell["value"], rel=0.02), (row, key)


def test_expected_macs_weigh_the_task_sets() -> None:
    manifest = replace(digits(), workload={"digit": 0.25, "stroke+slant": 0.75})
    cells = page(manifest).cells
    macs = {name: entry.macs for name, entry in manifest.task_sets.items()}
    assert cells["expected", "macs.bundle"]["value"] == 0.25 * macs["digit"].bundle + 0.75 * macs["stroke+slant"].bundle
    assert cells["expected", "macs.separate"]["value"] == 0.25 * 416_520 + 0.75 * 833_040
    assert "Workload: digit 25 %, stroke+slant 75 %" in page(manifest).text


def test_sets_that_cost_more_are_marked_in_text_and_class() -> None:
    cells = page(digits()).cells
    assert "▲ +12 %" in str(cells["digit", "macs.bundle"]["text"])
    assert cells["digit", "macs.bundle"]["marks"] == ["mark more"]
    assert "▼ \N{MINUS SIGN}38 %" in str(cells["digit+stroke+slant", "macs.bundle"]["text"])
    assert cells["digit+stroke+slant", "macs.bundle"]["marks"] == ["mark less"]
    # Fewer MACs, yet slower: each measure has its own mark.
    assert cells["slant", "macs.bundle"]["marks"] == ["mark less"]
    assert cells["slant", "latency.bundle"]["marks"] == ["mark more"]
    assert cells["digit", "macs.separate"]["marks"] == []


def test_time_within_noise_is_neither_gain_nor_loss() -> None:
    manifest = digits()
    assert manifest.latency is not None
    sets = {name: dict(row) for name, row in manifest.latency.sets.items()}
    for name, factor in (("digit", 1.04), ("stroke", 0.96), ("slant", 1.06)):
        sets[name]["bundle"] = timing(factor * sets[name]["pruned_separately"].p50_ms)
    found = page(replace(manifest, latency=replace(manifest.latency, sets=sets)))
    assert "≈ +4.0 %" in str(found.cells["digit", "latency.bundle"]["text"])
    assert [found.cells[name, "latency.bundle"]["marks"] for name in ("digit", "stroke", "slant")] == [
        ["mark about"],
        ["mark about"],
        ["mark more"],
    ]
    assert "≈ less than 5 % apart in time" in found.text
    # MACs are counted, not measured.
    assert found.cells["slant", "macs.bundle"]["marks"] == ["mark less"]


def test_without_a_baseline_the_separate_networks_are_the_measure() -> None:
    found = page(without_baseline(digits()))
    assert not [key for _, key in found.cells if "pruned" in key]
    assert "pruned separately" not in found.text and "None" not in found.text
    assert "▼ \N{MINUS SIGN}32 %" in str(found.cells["digit", "macs.bundle"]["text"])
    assert "than the networks as they are" in found.text


def test_without_latency_no_word_of_it() -> None:
    found = page(replace(digits(), latency=None))
    assert not [key for _, key in found.cells if "latency" in key]
    assert "≈" not in found.text and "Latency" not in found.text and " ms" not in found.text


def test_without_scores_sizes_checks_and_owners() -> None:
    manifest = digits()
    bare = {name: replace(entry, scores={}, bytes={}) for name, entry in manifest.task_sets.items()}
    found = page(replace(manifest, task_sets=bare, verification=(), owners={}, sources={}))
    for word in ("Scores", "scores", "size", "Size", "Verification", "Owners", "Sources", "drop"):
        assert word not in found.text.replace("max_drop", ""), word
    assert found.cells["digit", "macs.bundle"]["value"] == 281_501


def test_a_set_without_timing_shows_a_dash() -> None:
    manifest = digits()
    assert manifest.latency is not None
    rows = {name: row for name, row in manifest.latency.sets.items() if name != "digit"}
    found = page(replace(manifest, latency=replace(manifest.latency, sets=rows)))
    cell = found.cells["digit", "latency.bundle"]
    assert cell["value"] is None and str(cell["text"]).strip() == "–"


def test_error_metrics_rise_and_budgets_are_checked() -> None:
    manifest = digits()
    tasks = (manifest.tasks[0], replace(manifest.tasks[1], metric="mae", max_drop=0.1), manifest.tasks[2])
    entries = {
        name: replace(
            entry, scores={k: Scores(2.0, 2.05, 2.1251) if k == "stroke" else v for k, v in entry.scores.items()}
        )
        for name, entry in manifest.task_sets.items()
    }
    text = page(replace(manifest, tasks=tasks, task_sets=entries)).text
    assert "2 → 2.125 rise 0.125 over budget" in text
    assert "Worst mae rise 0.125 (stroke; budget 0.1): over budget for stroke." in text
    assert "Worst accuracy drop 0.29 points (digit; budget 1.00)." in text.replace("\xa0", " ")


def test_the_summary_has_the_key_numbers() -> None:
    text = page(digits()).text.replace("\xa0", " ")
    assert "All three tasks together: 325 k MACs, 26 % of the three networks as they are, 62 % of the same" in text
    assert "2 of 7 task sets take more MACs than the networks pruned one by one: digit (+12 %), stroke (+12 %)." in text
    assert "Worst accuracy drop 0.82 points (stroke; budget 1.00)." in text


def test_hostile_texts_stay_texts() -> None:
    manifest = rename(digits(), {"digit": HOSTILE})
    manifest = replace(
        manifest,
        name=HOSTILE,
        sources={HOSTILE: HOSTILE},
        tools={HOSTILE: "1"},
        owners={HOSTILE: {HOSTILE: 3, "stroke": 2}},
        latency=Latency(HOSTILE, manifest.latency.sets if manifest.latency else {}),
    )
    text = render_html(manifest, {HOSTILE: f"</pre>{HOSTILE}"})
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "img", "link", "iframe", "object"}
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert HOSTILE in " ".join(found.words)
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(drawing)  # noqa: S314  # our own text


def test_the_page_asks_for_nothing() -> None:
    text = render_html(digits(), {})
    urls = set(re.findall(r"\w+://[^\"'\s)]+", text))
    assert urls == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text and "<script" not in text and "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch1", "#hatch2", "#hatch3"}


@pytest.mark.parametrize("manifest", [digits(), without_baseline(digits()), replace(digits(), latency=None)])
def test_drawings_are_well_formed_and_inside_their_box(manifest: Manifest) -> None:
    drawings = re.findall(r"<svg xmlns.*?</svg>", render_html(manifest, {}), re.DOTALL)
    assert len(drawings) > 10
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)  # noqa: S314  # our own text
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for item in root.iter():
            x = float(item.get("x", item.get("cx", item.get("x2", "0"))))
            y = float(item.get("y", item.get("cy", item.get("y2", "0"))))
            assert 0 <= x <= width + 0.01 and 0 <= y <= height + 0.01
            if item.tag.endswith("rect"):
                assert x + float(item.attrib["width"]) <= width + 0.02
            if item.tag.endswith("text") and item.get("text-anchor") == "start":
                assert x + 7.2 * len(item.text or "") <= width + 8, item.text


def test_bars_are_as_long_as_their_values() -> None:
    text = render_html(digits(), {})
    drawing = next(d for d in re.findall(r"<svg xmlns.*?</svg>", text, re.DOTALL) if "MACs by task set" in d)
    bars = [float(w) for w in re.findall(r'width="([\d.]+)" height="11" class="v-', drawing)]
    values = [
        value
        for entry in digits().task_sets.values()
        for value in (entry.macs.separate, entry.macs.pruned_separately, entry.macs.bundle)
        if value is not None
    ]
    assert [bar / max(bars) for bar in bars] == pytest.approx([v / max(values) for v in values], abs=1e-4)


def test_whiskers_end_at_the_percentiles() -> None:
    manifest = digits()
    assert manifest.latency is not None
    timing = manifest.latency.sets["digit"]["separate"]
    drawing = next(
        d for d in re.findall(r"<svg xmlns.*?</svg>", render_html(manifest, {}), re.DOTALL) if "latency by" in d
    )
    bar = re.search(r'<rect x="0" y="18" width="([\d.]+)"', drawing)
    whisker = re.search(r'<line x1="([\d.]+)" y1="23.5" x2="([\d.]+)" y2="23.5"', drawing)
    assert bar and whisker
    scale = float(bar[1]) / timing.p50_ms
    assert float(whisker[1]) == pytest.approx(timing.p10_ms * scale, abs=0.02)
    assert float(whisker[2]) == pytest.approx(timing.p90_ms * scale, abs=0.02)


def test_long_names_are_cut_in_drawings_and_whole_in_their_tips() -> None:
    name = "a_task_with_a_name_that_no_phone_can_show_in_one_line_of_its_plots"
    drawings = re.findall(r"<svg xmlns.*?</svg>", render_html(rename(digits(), {"digit": name}), {}), re.DOTALL)
    macs = next(drawing for drawing in drawings if "MACs by task set" in drawing)
    shown = re.findall(r'class="name">([^<]*)<', macs)
    assert max(map(len, shown)) <= 52 and sum("…" in text for text in shown) == 4
    assert shown[0].startswith("a_task_with") and shown[0].endswith("of_its_plots")
    assert f"<title>{name}, bundle: 282 k MACs</title>" in macs


def test_owners_add_up_and_colours_are_distinct() -> None:
    manifest = digits()
    bars = owners_plot(manifest)
    assert [(bar.space, bar.units) for bar in bars] == [(s, sum(c.values())) for s, c in manifest.owners.items()]
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="20"', bars[1].bar)]
    assert sum(widths) == pytest.approx(float(bars[1].bar.split('viewBox="0 0 ')[1].split()[0]), abs=0.1)
    assert [w / sum(widths) for w in widths] == pytest.approx([4 / 21, 2 / 21, 1 / 21, 14 / 21], abs=1e-4)
    assert len({re.sub("aria-label=.*?>", "", key.sample) for key in owner_keys(manifest)}) == 6
    # The exclusive groups and the group of all keep their colours whatever else there is.
    fewer = replace(manifest, owners={"conv": {"slant": 1, "digit+stroke+slant": 2}})
    assert [re.search(r"o-?\w+(?=\"/)", key.sample)[0] for key in owner_keys(fewer)] == ["o2", "o-all"]  # type: ignore[index]


def test_many_groups_repeat_colours_with_hatches() -> None:
    manifest = rename(digits(), {})
    names = [f"t{i}" for i in range(HUES + 2)]
    tasks = tuple(replace(manifest.tasks[0], name=name) for name in names)
    owners = {"conv": dict.fromkeys(names, 2)}
    keys = owner_keys(replace(manifest, tasks=tasks, owners=owners))
    assert len({re.sub("aria-label=.*?>", "", key.sample) for key in keys}) == HUES + 2
    assert "hatch1" in keys[-1].sample and "hatch1" not in keys[HUES - 1].sample


def test_plans_and_checks_are_listed() -> None:
    found = page(digits(), digit="task set digit on arm64\n", slant="<b>plan</b>\n")
    assert "task set digit on arm64" in found.text and "<b>plan</b>" in found.text
    assert "12 outputs compared. Largest absolute error 3.7e-06 (onnx, digit+stroke+slant, digit)" in found.text
    assert "pamc build examples/digits/model.yaml --target arm64" in found.text
    assert "0f" * 32 in found.text and "onnxruntime 1.31.1" in found.text


def test_the_same_manifest_gives_the_same_page_whatever_the_order_of_its_sets() -> None:
    manifest = digits()
    backwards = replace(manifest, task_sets=dict(reversed(manifest.task_sets.items())))
    assert render_html(manifest, {"digit": "x"}) == render_html(backwards, {"digit": "x"})
