"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from pamc.bundle.manifest import Check, Manifest
from pamc_bench import wording
from pamc_bench.device_figures import device_measures, origins, panels
from pamc_bench.device_views import change_cell, notes, view
from pamc_bench.figures import (
    BASELINE,
    HEADINGS,
    VARIANTS,
    Measure,
    expected_macs,
    formats,
    measures,
    quantized_formats,
    scores,
    task_sets,
)
from pamc_bench.markdown import render_markdown
from pamc_bench.plots import latency_plot, macs_plot, owner_keys, owners_plot, scatter_plot, variant_keys
from pamc_bench.results import Result
from pamc_bench.terminal import render_terminal

__all__ = ["render_html", "render_markdown", "render_terminal"]

OPEN_UP_TO = 16  # longer verification tables are folded


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pamc_bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["break_sets"] = lambda name: name.split("+")
    return environment


def _scale(measure: Measure) -> wording.Scale:
    return wording.scale_for(measure.kind, measure.values)


def _unbroken(text: str) -> str:
    """``text`` whose numbers stay on one line with their units."""
    return re.sub(r"(?<=\d) (?=(%|k|M|G|ms|points)\b|%)", "\N{NO-BREAK SPACE}", text)


def _worst(checks: tuple[Check, ...]) -> str:
    absolute = max(checks, key=lambda check: check.max_abs)
    relative = max(checks, key=lambda check: check.max_rel)
    return (
        f"{len(checks)} outputs compared. Largest absolute error {absolute.max_abs:.1e} "
        f"({absolute.format}, {absolute.task_set}, {absolute.output}), largest relative error {relative.max_rel:.1e} "
        f"({relative.format}, {relative.task_set}, {relative.output})."
    )


def _origin(manifest: Manifest) -> list[tuple[str, str]]:
    normalize = manifest.input.normalize
    shape = "×".join(map(str, manifest.input.shape))
    inside = ""
    if normalize is not None:
        inside = f", mean {list(normalize.mean)}, std {list(normalize.std)} inside the network"
    rows = [
        ("numbers", wording.method_text(manifest.numerics)),
        ("merge", wording.method_text(manifest.merge)),
        ("prune", wording.method_text(manifest.prune)),
        ("input", f"{shape} {manifest.input.dtype}{inside}"),
        ("workload", wording.workload_text(manifest)),
        ("seed", str(manifest.seed)),
        ("tools", ", ".join(f"{name} {version}" for name, version in manifest.tools.items())),
        ("built", manifest.created),
        ("stages", ", ".join(f"{name} {wording.duration(time)}" for name, time in manifest.stage_seconds.items())),
        ("files", f"{len(manifest.files)}, {sum(entry.bytes for entry in manifest.files.values()):,} bytes in all"),
    ]
    if manifest.slice_of is not None:
        rows.append(("slice of", f"the bundle whose manifest has the sha256 {manifest.slice_of}"))
    return [(name, text) for name, text in rows if text]


def _task_rows(manifest: Manifest) -> list[dict[str, object]]:
    """Each task once, with the worst drop over the task sets."""
    rows: list[dict[str, object]] = []
    found = [score for name in task_sets(manifest) for score in scores(manifest, name)]
    for task in manifest.tasks:
        mine = [score for score in found if score.task.name == task.name]
        if mine:
            rows.append({"task": task, "score": max(mine, key=lambda score: score.drop)})
    return rows


def render_html(
    manifest: Manifest, plans_text: Mapping[str, str], results: Sequence[Result] = (), digest: str = ""
) -> str:
    """The whole report; ``plans_text`` are the readable plans by task set. The same input gives the same text.

    ``results`` are measurements of the bundle whose manifest has the sha256 ``digest``.
    """
    measured = panels(results, digest)
    found = (*measures(manifest), *device_measures(manifest, measured))
    latency = next((measure for measure in found if measure.key == "latency"), None)
    names = task_sets(manifest)
    sizes = [size for entry in manifest.task_sets.values() for size in entry.bytes.values()]
    rows = _task_rows(manifest)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            manifest=manifest,
            names=names,
            summary=_unbroken(wording.summary(manifest)),
            headings=HEADINGS,
            rest=sum(len(measure.variants) for measure in found[1:]) + len(formats(manifest)),
            columns=[(measure, _scale(measure)) for measure in found],
            scores={name: scores(manifest, name) for name in names},
            tasks=rows,
            has_baseline_scores=any(
                score.pruned_separately is not None for name in names for score in scores(manifest, name)
            ),
            formats=formats(manifest),
            stored_as=manifest.numerics.method,
            quantized=quantized_formats(manifest),
            totals=wording.totals_text(manifest),
            size_scale=wording.scale_for("bytes", sizes),
            expected=expected_macs(manifest),
            workload=wording.workload_text(manifest),
            baseline=any(measure.against == BASELINE for measure in found),
            legend=wording.marks_legend(found),
            variant_keys=variant_keys([name for name in VARIANTS if any(name in m.variants for m in found)]),
            macs_plot=macs_plot(manifest),
            latency_plot=None if latency is None else latency_plot(manifest, latency),
            scatter_plot=None if latency is None else scatter_plot(manifest, latency),
            panels=[view(panel) for panel in measured],
            device_origins=origins(results),
            device_notes=notes,
            change_cell=change_cell,
            owner_keys=owner_keys(manifest),
            owners=owners_plot(manifest),
            plans={name: plans_text[name] for name in names if name in plans_text},
            worst=_worst(manifest.verification) if manifest.verification else "",
            unfold=len(manifest.verification) <= OPEN_UP_TO,
            command=wording.command(manifest),
            origin=_origin(manifest),
            change_text=wording.change_text,
            score_text=wording.score_text,
            drop_text=wording.drop_text,
            drop_word=wording.drop_word,
            metric_text=wording.metric_text,
        )
    )
