"""The readable text of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from pamc.graph import Graph, Node
from pamc.lower.plan import Plan

__all__ = ["describe"]

TEXTS = 3


def _macs(graph: Graph, node: Node) -> int:
    if "weight" not in node.op.param_axes:
        return 0
    weight = graph.array(node, "weight")
    return int(weight.shape[0] * weight.shape[1]) * node.op.macs_per_link(graph.shapes[node.name])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Text to the left, numbers to the right.
    texts = [cell.ljust(width) for cell, width in zip(cells[:TEXTS], widths, strict=False)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[TEXTS:], widths[TEXTS:], strict=True)]
    return "  ".join([*texts, *numbers]).rstrip()


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:,.1f}"


def describe(plan: Plan) -> str:
    """One line per operation in the order of execution: layer and group, operation, output shape, MACs, parameters.

    Where the target's costs are known also the estimated time in microseconds. The totals are those that the task set
    needs; folds compute with zeros too, which has a line of its own.
    """
    graph = plan.graph
    rows = [("layer/group", "operation", "shape", "MACs", "params", "us")]
    for node in graph.nodes:
        params = sum(int(graph.params[key].size) for key in node.params.values())
        shape = "x".join(map(str, graph.shapes[node.name]))
        kind = getattr(node.op, "function", node.op.kind)
        taken = _time(plan.seconds.get(node.name))
        rows.append((node.name, kind, shape, f"{_macs(graph, node):,}", f"{params:,}", taken))
    total = _time(plan.estimated_seconds if plan.seconds else None)
    if plan.folds:
        computed = (f"{plan.computed_macs:,}", f"{plan.computed_params:,}")
        rows.append(("computed, with zeros", "", "", *computed, total))
        total = ""
    rows.append(("total", "", "", f"{plan.macs:,}", f"{plan.params:,}", total))
    shown = rows if plan.seconds else [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [f"task set {plan.task_set} on {plan.target}", *(_row(row, widths) for row in shown)]
    lines += [f"output {task} = {value}" for task, value in graph.outputs.items()]
    lines += [f"run as one in {fold}" for fold in plan.folds]
    return "\n".join(lines) + "\n"
