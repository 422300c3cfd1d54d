"""Importances against finite differences of the loss."""

from functools import partial

import numpy as np
import pytest
import torch

from pamc.graph import MultitaskGraph, verify_multitask
from pamc.graph.interpret import run
from pamc.graph.owners import DTYPE
from pamc.prune import METHODS, Budget
from pamc.prune.methods.taylor import TaylorOptions, TaylorSaliency
from pamc.train import MultitaskModule
from tests.prune.nets import pruning, separate, shared

STEP = 1e-5


def loss_of(net: MultitaskGraph, module: MultitaskModule, x: torch.Tensor, params) -> torch.Tensor:  # type: ignore[no-untyped-def]
    values = run(net.graph, x, params)
    return sum((values[value] ** 2).mean() for value in net.graph.outputs.values())  # type: ignore[return-value]


@pytest.mark.parametrize("criterion", ["squared", "absolute"])
@pytest.mark.parametrize("name", ["lenet", "se_resnet", "densenet"])
def test_importance_is_the_derivative_of_a_gate(name: str, criterion: str) -> None:
    net = shared(separate(name))
    module = MultitaskModule(net).double().eval()
    x = torch.tensor(np.random.default_rng(0).normal(size=(4, *net.graph.shapes["input"])))
    saliency = TaylorSaliency(net, criterion)
    loss_of(net, module, x, module._lookup).backward()
    saliency(module)
    found = saliency.stakes(saliency.averages({}, 0.0))

    rng = np.random.default_rng(1)
    for space in net.prunable:
        unit = int(rng.integers(net.spaces.sizes[space]))
        for row in range(3):

            def gated(node, role, factor, space=space, unit=unit, row=row):  # type: ignore[no-untyped-def]
                tensor = module._lookup(node, role)
                for link in net.spaces.readers[space]:
                    if link.reader == node.name and role == "weight":
                        tensor = tensor.clone()
                        serving = net.owners_along(node.name) >> DTYPE(row) & DTYPE(1)
                        columns = slice(link.start + unit * link.block, link.start + (unit + 1) * link.block)
                        tensor[torch.tensor(serving.astype(bool)), columns] *= factor
                return tensor

            with torch.no_grad():
                high = loss_of(net, module, x, partial(gated, factor=1 + STEP))
                low = loss_of(net, module, x, partial(gated, factor=1 - STEP))
            slope = abs(float(high - low)) / (2 * STEP)
            assert found[space][row, unit] == pytest.approx(slope, rel=1e-4, abs=1e-7)
        if criterion == "squared":
            assert found[space][3, unit] == pytest.approx(np.linalg.norm(found[space][:3, unit]))


def test_an_absolute_importance_is_that_of_a_gate_before_the_activation() -> None:
    """As in the PAM code, where the gate is on what the layer yields: its weights and its bias together."""
    net = shared(separate("lenet"))
    module = MultitaskModule(net).double().eval()
    saliency = TaylorSaliency(net, "absolute")
    pieces = torch.tensor(np.random.default_rng(0).normal(size=(2, 4, *net.graph.shapes["input"])))
    for x in pieces:
        module.zero_grad()
        loss_of(net, module, x, module._lookup).backward()
        saliency(module)
    found = saliency.stakes(saliency.averages({}, 0.0))
    for space in net.prunable:
        (producer,) = net.spaces.producers[space]
        unit = int(found[space][-1].argmax())

        def gated(node, role, factor, producer=producer, unit=unit):  # type: ignore[no-untyped-def]
            tensor = module._lookup(node, role)
            if node.name == producer:
                tensor = tensor.clone()
                tensor[unit] *= factor
            return tensor

        with torch.no_grad():
            slopes = [
                float(loss_of(net, module, x, partial(gated, factor=1 + STEP)))
                - float(loss_of(net, module, x, partial(gated, factor=1 - STEP)))
                for x in pieces
            ]
        wanted = np.mean(np.abs(slopes)) / (2 * STEP)
        assert wanted > 1e-3
        assert found[space][-1, unit] == pytest.approx(wanted, rel=1e-4)


def prune(net: MultitaskGraph, given, **options: object) -> MultitaskGraph:  # type: ignore[no-untyped-def]
    chosen = METHODS.parse_options("taylor", {"recover": 4, "warmup": 1, "epochs": 2, **options})
    return METHODS.get("taylor").function(net, given, chosen)


def test_a_cost_budget_is_met_and_the_result_is_compact() -> None:
    net = separate()
    given = pruning(net, Budget(150_000.0, {}))
    small = verify_multitask(prune(net, given), "test")
    from pamc.graph import expected_macs

    assert 100_000 < expected_macs(small, given.workload) <= 150_000
    assert all((vector > 0).all() for vector in small.owners.values())


def test_the_same_seed_gives_the_same_bytes() -> None:
    from pamc.graph.serial import dump

    net = separate(count=2)
    budget = Budget(250_000.0, {})
    first, second = (dump(prune(net, pruning(net, budget))) for _ in range(2))
    other = dump(prune(net, pruning(net, budget, seed=1)))
    assert first == second
    assert first != other


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="step"):
        TaylorOptions(step=1.5)
    with pytest.raises(ValueError, match="momentum"):
        TaylorOptions(momentum=1.0)
