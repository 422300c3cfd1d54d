"""What is in a bundle, for `pamc inspect`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pamc.bundle import Bundle
from pamc.errors import ConfigError
from pamc.graph import costs, name_of, render_multitask
from pamc.lower import describe, load_target, lower
from pamc.task_sets import UnknownTaskError, parse_task_set

__all__ = ["Inspection", "inspect_bundle", "inspect_plan"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A view of a bundle, as text and as plain data."""

    text: str
    data: dict[str, Any]


def inspect_bundle(bundle: Bundle) -> Inspection:
    """The graph, the owners of its units, and the cost of every task set."""
    net, manifest = bundle.net, bundle.manifest
    table = {name_of(request, net.tasks): cost for request, cost in costs(net).items()}
    width = max(map(len, table))
    lines = [
        f"bundle {manifest.name} for {manifest.target}, made by merge {manifest.merge.method} "
        f"and prune {manifest.prune.method}",
        "",
        render_multitask(net),
        f"{'task set':<{width}}  {'MACs':>14}  {'params':>12}  emitted",
    ]
    for text, cost in table.items():
        entry = manifest.task_sets.get(text)
        emitted = "yes" if entry is not None and entry.emitted else "on demand"
        lines.append(f"{text:<{width}}  {cost.macs:>14,}  {cost.params:>12,}  {emitted}")
    return Inspection(
        "\n".join(lines),
        {
            "name": manifest.name,
            "target": manifest.target,
            "tasks": list(net.tasks),
            "owners": {space: dict(counts) for space, counts in manifest.owners.items()},
            "task_sets": {text: asdict(cost) for text, cost in table.items()},
        },
    )


def inspect_plan(bundle: Bundle, task_set: str) -> Inspection:
    """The plan of one task set, layer by layer. Raises ConfigError for a task that does not exist."""
    net = bundle.net
    try:
        text = parse_task_set(task_set, net.tasks)
    except (UnknownTaskError, ValueError) as error:
        raise ConfigError(str(error), cure=f"the bundle has: {', '.join(net.tasks)}") from None
    request = net.task_set(text.split("+"))
    plan = lower(net, [request], load_target(bundle.manifest.target))[request]
    layers = [
        {
            "name": node.name,
            "op": node.op.kind,
            "owners": name_of(plan.owners[node.name], net.tasks),
            "shape": list(plan.graph.shapes[node.name]),
            "inputs": list(node.inputs),
        }
        for node in plan.graph.nodes
    ]
    return Inspection(describe(plan), {"task_set": text, "macs": plan.macs, "params": plan.params, "layers": layers})
