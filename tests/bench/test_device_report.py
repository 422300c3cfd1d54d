"""Reports with results of devices: their figures, their marks, and how the page looks in a browser."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import median

import pytest

from pamc.bundle.manifest import Manifest
from pamc.errors import ConfigError
from pamc_bench.device_figures import OURS, check_results, panels
from pamc_bench.device_views import change_cell
from pamc_bench.report import render_html, render_markdown
from pamc_bench.results import Counts, Result
from pamc_bench.rows import rows
from pamc_bench.table import change_text
from tests.bench.manifests import digits
from tests.bench.results import SETS, result
from tests.browser import measured_in_a_browser

DIGEST = "ab" * 32
OTHER = "12" * 32
HOSTILE = "\"><script>alert(1)</script>&'{{7*7}}"


def measured(**options: object) -> Result:
    return result(**options)  # type: ignore[arg-type]


def with_baseline() -> Result:
    found = measured(
        bundles=("digits", "old"), baseline="old", slower=lambda name, _: 1.2 if name == "old" else 1.0, blocks=12
    )
    return replace(found, bundles={**found.bundles, "old": replace(found.bundles["old"], manifest_sha256=OTHER)})


class Page(HTMLParser):
    """The cells of the device tables by panel, task set, bundle and column, and those of the first table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: dict[tuple[str, str, str, str], float] = {}
        self.first: dict[tuple[str, str], float] = {}
        self.words: list[str] = []
        self._panel = self._set = self._bundle = self._key = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._panel = found.get("data-panel", self._panel)
        if tag == "tr" and "data-task" not in found:
            self._set, self._bundle = found.get("data-set", ""), found.get("data-bundle", "")
        self._key = found.get("data-key", self._key)
        if tag == "data" and self._set:
            if self._panel:
                self.cells[self._panel, self._set, self._bundle, self._key] = float(found["value"])
            else:
                self.first[self._set, self._key] = float(found["value"])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def manifest() -> Manifest:
    return digits()


def page(*results: Result) -> Page:
    return Page(render_html(manifest(), {}, results, DIGEST))


def test_the_figures_are_those_of_the_json() -> None:
    found = with_baseline()
    cells = page(found).cells
    seen = set()
    for row in rows(found):
        bundle = OURS if row.key.bundle == "digits" else row.key.bundle
        variant = next(v for v in found.variants if v.key == row.key)
        medians = [median(block.ns) / 1e6 for block in variant.blocks]
        assert row.times is not None and variant.memory is not None and variant.counts is not None
        wanted = {
            "p50": median(medians),
            "low": row.times.low,
            "high": row.times.high,
            "p90": row.times.p90,
            "p99": row.times.p99,
            "least": min(min(block.ns) for block in variant.blocks) / 1e6,
            "mean": row.times.mean,
            "mad": row.times.mad,
            "first": median(block.first_ns for block in variant.blocks) / 1e6,
            "load": median(block.load_ns for block in variant.blocks) / 1e6,
            "memory": variant.memory.vm_hwm_kib,
            "instructions": variant.counts.total,
        }
        for key, value in wanted.items():
            assert cells["0", row.key.task_set, bundle, key] == value, key
            seen.add(("0", row.key.task_set, bundle, key))
    assert seen == set(cells)


def test_the_first_table_has_the_latency_and_memory_of_the_bundle() -> None:
    found = with_baseline()
    first = page(found).first
    for row in rows(found):
        if row.key.bundle == "digits":
            assert row.times is not None and row.memory_kib is not None
            assert first[row.key.task_set, "latency.device0.bundle"] == row.times.p50
            assert first[row.key.task_set, "memory.device0.bundle"] == 1024 * row.memory_kib


def test_markdown_has_the_same_figures() -> None:
    found = with_baseline()
    text = render_markdown(manifest(), (found,), DIGEST)
    section = text[text.index("## On devices") : text.index("## Units by owners")]
    lines = [re.split(r"\s*\|\s*", line.strip("| ")) for line in section.splitlines() if line.startswith("|")]
    heads, body = lines[0], lines[2:]
    assert len(body) == len(found.variants)
    for cells, row in zip(body, rows(found), strict=True):
        line = dict(zip(heads, cells, strict=True))
        assert row.times is not None
        assert line["p50, ms"] == f"{row.times.p50:.4f}" and line["to"] == f"{row.times.high:.4f}"
        assert line["memory, KiB"] == f"{row.memory_kib:,}"
        assert (line["change"] == "–") == (row.key.bundle == "old")
    assert "- command: pamc bench build/digits" in text and "- energy: not measured" in text


def test_changes_against_the_baseline_stand_beside_the_times() -> None:
    (panel,) = panels([with_baseline()], DIGEST)
    changes = {key: pair.changes["slower"] for key, pair in panel.pairs.items()}
    assert set(changes) == {(name, OURS) for name in SETS}
    assert all(change.low < 1 / 1.2 - 1 < change.high for change in changes.values())
    shown = " ".join(page(with_baseline()).words)
    assert all(change_text(change) in shown for change in changes.values())


def test_where_there_are_no_times_the_change_is_that_of_the_instructions() -> None:
    found = measured(bundles=("digits", "old"), baseline="old", emulated=True)
    more = Counts({"fma": 2000, "load": 400}, "qemu 7.2", "cortex-a72", {})
    variants = tuple(replace(v, counts=more, blocks=()) if v.key.bundle == "old" else v for v in found.variants)
    others = {**found.bundles, "old": replace(found.bundles["old"], manifest_sha256=OTHER)}
    (panel,) = panels([replace(found, variants=variants, bundles=others)], DIGEST)
    assert [change_cell(panel, name, OURS) for name in SETS] == ["-41.7 %"] * len(SETS)
    assert change_cell(panel, SETS[0], "old") == ""


def test_times_of_an_emulator_are_nowhere() -> None:
    found = measured(emulated=True)
    html = render_html(manifest(), {}, (found,), DIGEST)
    markdown = render_markdown(manifest(), (found,), DIGEST)
    cells = Page(html)
    assert {key for *_, key in cells.cells} == {"memory", "instructions"}
    assert not any(key.startswith("latency.device") for _, key in cells.first)
    section = html[html.index("On devices") :]
    assert "<svg" not in section[: section.index("Owners per layer")] and "emulated" in section
    for variant in found.variants:
        shown = f"{median(median(block.ns) for block in variant.blocks) / 1e6:.3f}"
        assert shown not in section and shown not in markdown[markdown.index("## On devices") :]


def test_what_a_reader_must_know_is_said() -> None:
    found = measured()
    found = replace(
        found,
        complete=False,
        protocol=replace(found.protocol, quick=True),
        variants=tuple(replace(v, unstable=("blocks vary by 9 %",)) for v in found.variants),
    )
    text = " ".join(" ".join(page(found).words).split())
    for words in (
        "Quick: fewer and shorter blocks",
        "Not complete: only the rounds",
        "UNSTABLE (digit, stroke, digit+stroke): blocks vary by 9 %",
        "frequency governor ondemand",
        "41.0 °C at the start, 52.5 °C at the end",
        "energy",
        "pamc bench build/digits",
        "onnxruntime 1.31.1",
    ):
        assert words in text, words


def test_several_results_are_side_by_side_and_hostile_names_are_text() -> None:
    second = measured(seed=3)
    second = replace(second, devices={name: replace(d, model=HOSTILE) for name, d in second.devices.items()})
    html = render_html(manifest(), {}, (with_baseline(), second), DIGEST)
    assert {panel for panel, *_ in Page(html).cells} == {"0", "1"}
    assert "<script" not in html and "49" not in html.split("alert(1)")[1][:40]
    assert "<script" not in render_markdown(manifest(), (second,), DIGEST)


def test_a_result_of_another_bundle_is_refused() -> None:
    with pytest.raises(ConfigError, match="not of this bundle") as caught:
        check_results([("r.json", measured())], OTHER)
    assert caught.value.where == "r.json"
    assert check_results([("r.json", measured())], DIGEST)


def test_without_results_the_page_is_that_of_the_build() -> None:
    assert render_html(manifest(), {}) == render_html(manifest(), {}, (), DIGEST)
    assert "On devices" not in render_html(manifest(), {})


PROBE = """
  const wide = [...document.querySelectorAll("main > *, .plots > *")]
    .filter((item) => item.getBoundingClientRect().right > innerWidth + 1);
  const drawn = [...document.querySelectorAll("figure svg")].filter((svg) => svg.getBoundingClientRect().height > 20);
  const style = getComputedStyle(document.body);
  return {
    width: innerWidth, scroll: document.documentElement.scrollWidth - innerWidth, wide: wide.length,
    drawn: drawn.length, figures: document.querySelectorAll("figure").length,
    page: style.backgroundColor, text: style.color,
  };
"""
LIGHT, DARK = ("rgb(255, 255, 255)", "rgb(29, 35, 42)"), ("rgb(20, 24, 28)", "rgb(227, 231, 235)")


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1200, True)])
def test_the_page_fits_a_phone_and_a_screen_in_a_browser(tmp_path: Path, width: int, dark: bool) -> None:
    html = render_html(manifest(), {"digit": "plan"}, (with_baseline(),), DIGEST)
    html = html.replace("prefers-color-scheme: dark", "min-width: 1px") if dark else html
    # The page allows no scripts; the one that measures it is the test's.
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    seen = measured_in_a_browser(html, PROBE, width, tmp_path)
    # What is wider than the page scrolls in a box of its own.
    assert (seen["width"], seen["wide"]) == (width, 0) and int(str(seen["scroll"])) <= 0, seen
    assert seen["drawn"] == seen["figures"] == 9, seen
    assert (seen["page"], seen["text"]) == (DARK if dark else LIGHT)
