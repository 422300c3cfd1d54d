"""The readable text form: one line per node; owners as groups."""

from __future__ import annotations

from dataclasses import fields

from pamc.graph.ir import Graph, MultitaskGraph, Node
from pamc.graph.owners import groups, name_of

__all__ = ["render", "render_multitask", "render_owners"]


def _attributes(node: Node) -> str:
    shown = []
    for item in fields(node.op):
        value = getattr(node.op, item.name)
        if value != item.default and item.name != "shape":
            text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            shown.append(f"{item.name}={text}")
    return "{" + ", ".join(shown) + "}" if shown else ""


def render(graph: Graph) -> str:
    """``%name: shape = op{attributes}(inputs)`` line by line, then the outputs."""
    lines = []
    for node in graph.nodes:
        shape = "x".join(map(str, graph.shapes[node.name]))
        weights = "".join(
            f" {role}[{'x'.join(map(str, graph.params[key].shape))}]" for role, key in sorted(node.params.items())
        )
        reads = ", ".join(f"%{name}" for name in node.inputs)
        lines.append(f"%{node.name}: {shape} = {node.op.kind}{_attributes(node)}({reads}){weights}")
    lines += [f"output {name} = %{value}" for name, value in graph.outputs.items()]
    return "\n".join(lines) + "\n"


def render_owners(net: MultitaskGraph) -> str:
    """``space name[units]: owners x units, ...`` line by line."""
    lines = []
    for space, vector in net.owners.items():
        parts = [f"{name_of(mask, net.tasks)} x {len(units)}" for mask, units in groups(vector).items()]
        if dead := int((vector == 0).sum()):
            parts.append(f"- x {dead}")
        state = " (fixed)" if space in net.fixed else ""
        lines.append(f"space {space}[{len(vector)}]{state}: {', '.join(parts)}")
    return "\n".join(lines) + "\n"


def render_multitask(net: MultitaskGraph) -> str:
    """Tasks, owners per space, then the graph."""
    return f"tasks {', '.join(net.tasks)}\n{render_owners(net)}{render(net.graph)}"
