"""The intermediate representation: graphs, channel spaces, owners, costs."""

from pamc.graph.cost import Cost, cost, costs, costs_by_tasks, expected_macs
from pamc.graph.ir import Graph, MultitaskGraph, Node, Origin
from pamc.graph.owners import all_task_sets, name_of, uniform_workload
from pamc.graph.passes import fold_batch_norm
from pamc.graph.reshape import compact, restrict, share_all, take, tighten
from pamc.graph.select import Selection, select
from pamc.graph.stack import stack
from pamc.graph.text import render, render_multitask, render_owners
from pamc.graph.verify import verify, verify_multitask

__all__ = [
    "Cost",
    "Graph",
    "MultitaskGraph",
    "Node",
    "Origin",
    "Selection",
    "all_task_sets",
    "compact",
    "cost",
    "costs",
    "costs_by_tasks",
    "expected_macs",
    "fold_batch_norm",
    "name_of",
    "render",
    "render_multitask",
    "render_owners",
    "restrict",
    "select",
    "share_all",
    "stack",
    "take",
    "tighten",
    "uniform_workload",
    "verify",
    "verify_multitask",
]
