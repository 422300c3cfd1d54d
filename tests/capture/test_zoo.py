"""Every network family: captured faithfully, aligned exactly, costed exactly, selected exactly."""

import pytest
import torch

from pamc.capture import align, align_report
from pamc.graph import Graph, all_task_sets, cost, select
from pamc.graph.cost import graph_macs, graph_params
from pamc.graph.interpret import evaluate
from tests.zoo import NETWORKS
from tests.zoo.captured import captured, images, relative_error

# The third network is wider than the others, and small networks also differ in the second.
LARGE = ("resnet18", "resnet50", "mobilenet_v2", "vgg16_bn")


@pytest.mark.parametrize("name", NETWORKS)
def test_family(name: str) -> None:
    parts = {"a": captured(name, 0), "b": captured(name, 1, int(name not in LARGE)), "c": captured(name, 2, 1)}
    graphs: dict[str, Graph] = {task: graph for task, (_, graph) in parts.items()}
    x = images(graphs["a"])
    wanted = {task: module(x) for task, (module, _) in parts.items()}
    for task, graph in graphs.items():
        assert graph.outputs.keys() == {task}
        alone = evaluate(graph, x, dtype=torch.float64)[task]
        assert relative_error(alone, wanted[task]) < 1e-12

    for tasks in (("a", "b"), ("a", "b", "c")):
        chosen = {task: graphs[task] for task in tasks}
        net = align(chosen)
        outputs = evaluate(net.graph, x, dtype=torch.float64)
        requests = list(all_task_sets(len(tasks)))
        flat = select(net, requests)
        for task in tasks:
            assert relative_error(outputs[task], wanted[task]) < 1e-12
        for request in requests:
            members = [graph for bit, graph in enumerate(chosen.values()) if request >> bit & 1]
            price = cost(net, request)
            assert price.macs == sum(map(graph_macs, members))
            assert price.params == sum(map(graph_params, members))
            assert graph_macs(flat[request].graph) == price.macs
            assert graph_params(flat[request].graph) == price.params
            some = evaluate(flat[request].graph, x, dtype=torch.float64)
            assert all(relative_error(value, outputs[task]) < 1e-12 for task, value in some.items())

    # Equal topologies share every layer but those in the output's channel space.
    for item in align_report(graphs).networks:
        assert item.shared[tuple(task for task in graphs if task != item.task)] == item.layers - 1
        assert item.diverges is not None and item.diverges.is_head
