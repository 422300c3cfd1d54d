"""The report as Markdown (GitHub's dialect), with exact numbers."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from pamc.bundle.manifest import Manifest
from pamc.task_sets import sort_task_sets
from pamc_bench.device_figures import origins, panels
from pamc_bench.device_views import device_markdown
from pamc_bench.figures import (
    HEADINGS,
    Measure,
    expected_macs,
    formats,
    measures,
    quantized_formats,
    scores,
    task_sets,
)
from pamc_bench.results import Result
from pamc_bench.wording import (
    change_text,
    command,
    drop_text,
    duration,
    marks_legend,
    method_text,
    metric_text,
    score_text,
    summary,
    totals_text,
    workload_text,
)

__all__ = ["render_markdown"]


def _safe(text: str) -> str:
    """Any text as plain words: no markup, no HTML, no line break, no cell border."""
    text = html.escape(re.sub(r"\s+", " ", text), quote=False)
    # An underscore inside a word is no emphasis, and names are full of them.
    return re.sub(r"([\\`*\[\]|~!#])|((?<!\w)_|_(?!\w))", lambda match: "\\" + match[0], text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """``left`` columns of text, then numbers; cells are Markdown already."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows]) + "\n"


def _value(timed: bool, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if timed else f"{value:,.0f}"


def _marked(text: str) -> str:
    return f"**{text}**" if text.startswith("▲") else text


def _score_table(manifest: Manifest) -> str:
    found = [(name, score) for name in task_sets(manifest) for score in scores(manifest, name)]
    baseline = any(score.pruned_separately is not None for _, score in found)
    kind, stored = manifest.numerics.method, quantized_formats(manifest)
    heads = ["task set", "task", "metric", "separate", *(["pruned separately"] if baseline else [])]
    rows = []
    for name, score in found:
        metric = score.task.metric
        over = " **over budget**" if score.over_budget else ""
        budget = score.task.max_drop
        pruned = score.pruned_separately
        rows.append(
            [
                _safe(name),
                _safe(score.task.name),
                _safe(metric_text(metric)),
                score_text(metric, score.separate),
                *([score_text(metric, pruned) if pruned is not None else "–"] if baseline else []),
                score_text(metric, score.bundle),
                *(score_text(metric, score.quantized[name]) if name in score.quantized else "–" for name in stored),
                drop_text(metric, score.drop) + over,
                "–" if budget is None else drop_text(metric, budget),
            ]
        )
    after = [f"{_safe(kind)}, {_safe(name)}" for name in stored]
    return _table([*heads, "bundle, float32" if stored else "bundle", *after, "drop", "allowed"], rows, left=3)


def _cost_table(manifest: Manifest, measure: Measure) -> str:
    heads = [HEADINGS[name] for name in measure.variants]
    if measure.against:
        heads.append(f"vs {HEADINGS[measure.against]}")
    rows = []
    for name in task_sets(manifest):
        row = measure.rows.get(name, {})
        cells = [_value(measure.timed, row.get(variant)) for variant in measure.variants]
        if measure.against:
            cells.append(_marked(change_text(measure.change(name))))
        rows.append([_safe(name), *cells])
    expected = expected_macs(manifest) if measure.key == "macs" else None
    if expected is not None:
        cells = [_value(False, expected.by_variant.get(variant)) for variant in measure.variants]
        rows.append(["*expected*", *cells, *([_marked(change_text(expected.change))] if measure.against else [])])
    return _table(["task set", *heads], rows)


def _size_table(manifest: Manifest) -> str:
    found = formats(manifest)
    rows = [
        [_safe(name), *(_value(False, manifest.task_sets[name].bytes.get(form)) for form in found)]
        for name in task_sets(manifest)
    ]
    return _table(["task set", *(f"{_safe(form)}, bytes" for form in found)], rows)


def _owners_table(manifest: Manifest) -> str:
    groups = sort_task_sets({name for counts in manifest.owners.values() for name in counts}, manifest.task_names)
    rows = [[_safe(space), *(str(counts.get(name, 0)) for name in groups)] for space, counts in manifest.owners.items()]
    return _table(["channel space", *map(_safe, groups)], rows)


def _verification_table(manifest: Manifest) -> str:
    rows = [
        [_safe(c.format), _safe(c.task_set), _safe(c.output), f"{c.max_abs:.1e}", f"{c.max_rel:.1e}", str(c.samples)]
        for c in manifest.verification
    ]
    return _table(["format", "task set", "output", "max. absolute", "max. relative", "samples"], rows, left=3)


def _code(text: str) -> str:
    """A code block that ``text`` cannot end."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _origin(manifest: Manifest) -> str:
    tools = ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in manifest.stage_seconds.items())
    lines = [
        f"- numbers: {_safe(method_text(manifest.numerics))}",
        f"- merge: {_safe(method_text(manifest.merge))}",
        f"- prune: {_safe(method_text(manifest.prune))}",
        f"- seed: {manifest.seed}",
        f"- workload: {_safe(workload_text(manifest))}",
        f"- tools: {_safe(tools)}",
        f"- built: {_safe(manifest.created)}" + (f"; {_safe(stages)}" if stages else ""),
    ]
    if manifest.slice_of is not None:
        lines.append(f"- a slice of the bundle whose manifest has the sha256 {manifest.slice_of}")
    sources = _table(["source", "sha256"], [[_safe(p), f"`{_safe(h)}`"] for p, h in manifest.sources.items()], left=2)
    return _code(command(manifest)) + "\n" + "\n".join(lines) + "\n" + (f"\n{sources}" if manifest.sources else "")


def render_markdown(manifest: Manifest, results: Sequence[Result] = (), digest: str = "") -> str:
    """The report of a bundle, with ``results`` of the one whose manifest has the sha256 ``digest``."""
    found = measures(manifest)
    parts = [f"# {_safe(manifest.name)} for {_safe(manifest.target)}\n", _safe(summary(manifest)) + "\n"]
    parts.append("## Task sets\n")
    if any(entry.scores for entry in manifest.task_sets.values()):
        parts += ["### Scores\n", _score_table(manifest)]
    for measure in found:
        title = f"{measure.title} in ms" if measure.timed else measure.title
        parts += [f"### {title[0].upper()}{title[1:]}\n", _cost_table(manifest, measure)]
        if measure.timed and manifest.latency is not None:
            parts.append(f"Measured on: {_safe(manifest.latency.environment)}.\n")
    if legend := marks_legend(found):
        parts.append(_safe(legend) + "\n")
    if formats(manifest):
        parts += ["### Size\n", _size_table(manifest), _safe(totals_text(manifest)) + "\n"]
    parts += device_markdown(panels(results, digest), origins(results), _safe, _table)
    if manifest.owners:
        parts += ["## Units by owners\n", _owners_table(manifest)]
    if manifest.verification:
        parts += ["## Verification against the PyTorch networks\n", _verification_table(manifest)]
    parts += ["## How to build it again\n", _origin(manifest)]
    return "\n".join(parts)
