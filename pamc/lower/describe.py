"""The readable text of a plan."""

from __future__ import annotations

from pamc.graph import Graph, Node
from pamc.lower.plan import Plan

__all__ = ["describe"]


def _macs(graph: Graph, node: Node) -> int:
    if "weight" not in node.op.param_axes:
        return 0
    weight = graph.array(node, "weight")
    return int(weight.shape[0] * weight.shape[1]) * node.op.macs_per_link(graph.shapes[node.name])


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    # Text to the left, the numbers of the last two columns to the right.
    texts = [cell.ljust(width) for cell, width in zip(cells[:-2], widths[:-2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[-2:], widths[-2:], strict=True)]
    return "  ".join([*texts, *numbers]).rstrip()


def describe(plan: Plan) -> str:
    """One line per operation in the order of execution: layer and group, operation, output shape, MACs, parameters."""
    graph = plan.graph
    rows = [("layer/group", "operation", "shape", "MACs", "params")]
    for node in graph.nodes:
        params = sum(int(graph.params[key].size) for key in node.params.values())
        shape = "x".join(map(str, graph.shapes[node.name]))
        kind = getattr(node.op, "function", node.op.kind)
        rows.append((node.name, kind, shape, f"{_macs(graph, node):,}", f"{params:,}"))
    rows.append(("total", "", "", f"{plan.macs:,}", f"{plan.params:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"task set {plan.task_set} on {plan.target}", *(_row(row, widths) for row in rows)]
    lines += [f"output {task} = {value}" for task, value in graph.outputs.items()]
    return "\n".join(lines) + "\n"
