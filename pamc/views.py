"""Networks and plans as text for a person, and as plain data for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pamc.graph import MultitaskGraph, cost, name_of, render_multitask
from pamc.graph.owners import groups
from pamc.lower import Plan, describe

__all__ = ["View", "cost_lines", "network_view", "owner_counts", "plan_view"]


@dataclass(frozen=True, slots=True)
class View:
    """The same content twice."""

    text: str
    data: dict[str, Any]


def owner_counts(net: MultitaskGraph) -> dict[str, dict[str, int]]:
    """The number of units by space that can be pruned, and by owners."""
    return {
        space: {name_of(mask, net.tasks): len(units) for mask, units in groups(net.owners[space]).items()}
        for space in net.prunable
    }


def cost_lines(net: MultitaskGraph, requests: Sequence[int], notes: Mapping[str, str] | None = None) -> list[str]:
    """A table with the cost of each request; ``notes`` fill a last column by task set, under the key "" its title."""
    notes = notes or {}
    rows = [("task set", "MACs", "params", notes.get("", ""))]
    for request in requests:
        text, amount = name_of(request, net.tasks), cost(net, request)
        rows.append((text, f"{amount.macs:,}", f"{amount.params:,}", notes.get(text, "")))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"{name:<{widths[0]}}  {macs:>{widths[1]}}  {params:>{widths[2]}}  {note}".rstrip()
        for name, macs, params, note in rows
    ]


def network_view(net: MultitaskGraph, requests: Sequence[int], notes: Mapping[str, str] | None = None) -> View:
    """The owners of all units, the graph, and the cost of each request."""
    return View(
        "\n".join([render_multitask(net), *cost_lines(net, requests, notes)]),
        {
            "tasks": list(net.tasks),
            "owners": owner_counts(net),
            "task_sets": {name_of(request, net.tasks): asdict(cost(net, request)) for request in requests},
        },
    )


def plan_view(plan: Plan, tasks: Sequence[str]) -> View:
    """A plan layer by layer."""
    layers = [
        {
            "name": node.name,
            "op": node.op.kind,
            "owners": name_of(plan.owners[node.name], tuple(tasks)),
            "shape": list(plan.graph.shapes[node.name]),
            "inputs": list(node.inputs),
            **({"seconds": plan.seconds[node.name]} if plan.seconds else {}),
        }
        for node in plan.graph.nodes
    ]
    data = {
        "task_set": plan.task_set,
        "macs": plan.macs,
        "params": plan.params,
        "computed_macs": plan.computed_macs,
        "computed_params": plan.computed_params,
        "estimated_seconds": plan.estimated_seconds if plan.seconds else None,
        "folds": list(plan.folds),
        "layers": layers,
    }
    return View(describe(plan), data)
