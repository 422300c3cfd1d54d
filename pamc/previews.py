"""What a build shows when it is not to write a bundle: its plan, or what it had when it was to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc.export import Exporter
from pamc.graph import MultitaskGraph
from pamc.lower import Plan
from pamc.spec import Spec
from pamc.views import View, cost_lines, network_view, plan_view

__all__ = ["exported_view", "lowered_view", "planned_view", "stage_view"]


def planned_view(spec: Spec, target: str, out: Path, net: MultitaskGraph, requests: Sequence[int]) -> View:
    """What a build would do, and what the separate networks cost."""
    budget = {name: value for name, value in asdict(spec.prune.budget).items() if value is not None}
    if spec.prune.method == "none":
        budget = {}
    goal = "".join(f" to {name} {value:g}" for name, value in budget.items())
    lines = [
        f"would merge {', '.join(net.tasks)} by {spec.merge.method}, prune by {spec.prune.method}{goal},",
        f"and write {len(spec.task_sets)} task sets as {', '.join(spec.emit)} for {target} to {out}",
        "",
        "the networks as they are:",
        *cost_lines(net, requests),
    ]
    data = {
        "merge": spec.merge.method,
        "prune": spec.prune.method,
        "budget": budget,
        "emit": list(spec.emit),
        "emitted": list(spec.task_sets),
        "target": target,
        "out": str(out),
        **network_view(net, requests).data,
    }
    return View("\n".join(lines), data)


def stage_view(stage: str, net: MultitaskGraph, requests: Sequence[int]) -> View:
    """The network as a stage left it."""
    view = network_view(net, requests)
    return View(f"after {stage}:\n{view.text}", {"stage": stage, **view.data})


def lowered_view(plans: Mapping[str, Plan], tasks: Sequence[str]) -> View:
    """All plans."""
    views = [plan_view(plan, tasks) for plan in plans.values()]
    text = "\n".join(["after lower:", *(view.text for view in views)])
    return View(text, {"stage": "lower", "plans": [view.data for view in views]})


def exported_view(
    plans: Mapping[str, Plan], exporters: Sequence[Exporter], options: Mapping[str, Mapping[str, object]]
) -> View:
    """The files that a bundle would hold, which are not kept; ``options`` by format."""
    sizes: dict[str, int] = {}
    with TemporaryDirectory(prefix="pamc-export-") as root:
        for exporter in exporters:
            folder = Path(root) / exporter.name
            folder.mkdir()
            written = exporter.write(plans, folder, {}, options.get(exporter.name, {}))
            sizes |= {path.relative_to(root).as_posix(): path.stat().st_size for path in sorted(written)}
    lines = [f"{name}  {size:,} bytes" for name, size in sizes.items()]
    return View("\n".join(["after export:", *lines]), {"stage": "export", "files": sizes})
