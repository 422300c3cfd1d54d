"""The bottleneck: its divergence, its gates, and what goes first."""

import numpy as np
import pytest
import torch

from pamc.graph import MultitaskGraph, expected_macs
from pamc.graph.interpret import evaluate, read_values, run
from pamc.prune import Budget
from pamc.prune.methods.vib import FIRST_LOG_VARIANCE, Gates, VibOptions, divergence, folded, kl_weights, signal
from pamc.prune.moves import Rules, prune_to
from pamc.train import MultitaskModule, Recipe, fit
from tests.prune.nets import pruning, separate, shared

WORKLOAD = {1: 0.25, 2: 0.25, 7: 0.5}


def gates_of(net: MultitaskGraph, **log_alpha: float) -> Gates:
    ones = {space: np.ones(net.spaces.sizes[space]) for space in net.prunable}
    held = {space: np.full((1, len(vector)), log_alpha["start"]) for space, vector in ones.items()} if log_alpha else {}
    return Gates(net, ones, held, 0.1)


@pytest.mark.parametrize(("mean", "log_variance"), [(1.0, -1.0), (0.3, 0.0), (-2.0, 0.5)])
def test_the_divergence_is_the_least_over_all_priors(mean: float, log_variance: float) -> None:
    """Monte Carlo of E_q[ln q - ln p] for p = N(0, s), over a grid of s."""
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gate = mean + np.exp(0.5 * log_variance) * noise
    q = torch.distributions.Normal(mean, np.exp(0.5 * log_variance)).log_prob(gate)
    found = {}
    for scale in np.geomspace(0.2, 20, 200):
        found[scale] = float((q - torch.distributions.Normal(0.0, scale**0.5).log_prob(gate)).mean())
    best = min(found, key=lambda scale: found[scale])
    wanted = float(divergence(torch.tensor(mean), torch.tensor(log_variance)))
    assert found[best] == pytest.approx(wanted, abs=0.01)
    assert best == pytest.approx(mean**2 + np.exp(log_variance), rel=0.05)


@pytest.mark.parametrize("name", ["lenet", "se_resnet", "densenet", "small_mobilenet"])
def test_folded_means_are_the_gates_without_noise(name: str) -> None:
    net = shared(separate(name))
    gates = gates_of(net, start=-60.0)
    with torch.no_grad():
        gates.mean.copy_(torch.randn(len(gates.mean), generator=torch.Generator().manual_seed(0)))
    x = torch.tensor(np.random.default_rng(0).normal(size=(3, *net.graph.shapes["input"])), dtype=torch.float32)
    held = {key: torch.tensor(array) for key, array in net.graph.params.items()}
    read = gates.reading(len(x))
    values = run(net.graph, x, lambda node, role: held[node.params[role]], reading=read)
    small = evaluate(folded(net, gates.means()).graph, x)
    for task, value in net.graph.outputs.items():
        torch.testing.assert_close(values[value], small[task], rtol=2e-3, atol=2e-3)
        assert not torch.allclose(evaluate(net.graph, x)[task], small[task], rtol=0.1)


def test_alpha_survives_folding() -> None:
    net = shared(separate())
    gates = gates_of(net)
    with torch.no_grad():
        gates.mean.fill_(0.5)
    log_alpha = gates.log_alpha()
    again = Gates(net, {space: np.ones(net.spaces.sizes[space]) for space in net.prunable}, log_alpha, 0.1)
    for space, vector in again.log_alpha().items():
        np.testing.assert_allclose(vector, FIRST_LOG_VARIANCE - 2 * np.log(0.5), rtol=1e-5)
        np.testing.assert_allclose(vector, log_alpha[space], rtol=1e-5)


def test_a_gate_is_one_wherever_a_unit_is_read_and_another_for_every_sample() -> None:
    net = shared(separate("small_resnet"))
    gates = gates_of(net, start=0.0)
    read = gates.reading(4)
    seen: dict[str, list[torch.Tensor]] = {}
    for space in net.prunable:
        for link in net.spaces.readers[space]:
            source = net.graph.by_name[link.reader].inputs[0]
            channels, *rest = net.graph.shapes[source]
            found = read(source, torch.ones(4, channels, *rest)).reshape(4, channels, -1)
            seen.setdefault(space, []).append(found[:, link.start : link.start + net.spaces.sizes[space]])
            assert (found == found[:, :, :1]).all()
            assert found[0].ne(found[1]).any()
    assert max(map(len, seen.values())) > 1
    for places in seen.values():
        assert all(torch.equal(place[:, :, 0], places[0][:, :, 0]) for place in places)
    image = torch.ones(4, *net.graph.shapes["input"])
    assert torch.equal(read("input", image), image)


def test_gradients_reach_both_parameters_of_every_gate() -> None:
    net = separate()
    gates = gates_of(net, start=-2.0)
    module = MultitaskModule(net, gates).train()
    x = torch.tensor(np.random.default_rng(0).normal(size=(8, 1, 28, 28)), dtype=torch.float32)
    sum(output.square().mean() for output in module(x).values()).backward()  # type: ignore[union-attr]
    for parameter in gates.parameters():
        assert parameter.grad is not None
        # The others are of units that never fire here.
        assert (parameter.grad != 0).float().mean() > 0.75
    with torch.no_grad():
        module.eval()
        for task, output in evaluate(net.graph, x).items():
            torch.testing.assert_close(module(x)[task], output, rtol=0, atol=1e-4)


def test_a_divergence_is_priced_by_what_the_unit_costs() -> None:
    net = shared(separate())
    weights = kl_weights(net, WORKLOAD)
    assert sum(vector.sum() for vector in weights.values()) == pytest.approx(1.0)
    unasked = kl_weights(net, {1: 1.0})
    for space in net.prunable:
        assert ((unasked[space] > 0) == (net.owners[space] & 1 > 0)).all()


def uninformative(net: MultitaskGraph) -> tuple[MultitaskGraph, dict[str, np.ndarray]]:
    """Every other unit past the first two of each task hardly reaches its readers."""
    params = {key: np.array(array) for key, array in net.graph.params.items()}
    marked = {}
    for space in net.prunable:
        marked[space] = np.arange(net.spaces.sizes[space]) % 2 == 1
        for link in net.spaces.readers[space]:
            weight = params[net.graph.by_name[link.reader].params["weight"]]
            columns = np.repeat(marked[space], link.block)
            weight[:, link.start : link.start + len(columns)][:, columns] *= 0.02
    return net.with_params(params), marked


def test_units_that_say_nothing_drown_in_noise_and_go_first() -> None:
    net, marked = uninformative(separate(count=2))
    workload = {1: 0.5, 2: 0.5}
    given = pruning(net, Budget(0.75 * expected_macs(net, workload), {}), workload=workload)
    weights = {space: 0.02 * share for space, share in kl_weights(net, workload).items()}
    gates = Gates(net, weights, {}, 0.05)
    fit(net, given.train, given.targets, Recipe(60, 32), given.progress, regulariser=gates)
    for space, vector in gates.log_alpha().items():
        assert np.median(vector[0][marked[space]]) > np.median(vector[0][~marked[space]]) + 1.0, space

    stake = signal(net, gates.log_alpha())
    small = prune_to(net, stake, workload, 0.75 * expected_macs(net, workload), Rules(exponent=0.0, floor=2))
    gone = {space: small.owners[space] == 0 for space in net.prunable}
    assert sum(int(vector.sum()) for vector in gone.values()) >= 8
    # Units that hardly ever fire have as little to say.
    idle = {
        space: np.mean([(part.numpy() != 0).mean(axis=(0, 2)) for part in parts], axis=0) < 0.1
        for space, parts in next(read_values(net, given.train.x)).items()
    }
    assert sum(int((vector & ~marked[space] & ~idle[space]).sum()) for space, vector in gone.items()) <= 1
    assert all(0.3 < (marked[space] | idle[space]).mean() < 0.75 for space in net.prunable)


def test_units_past_the_threshold_go_first_whatever_they_save() -> None:
    net = separate()
    stake = {space: np.ones((4, net.spaces.sizes[space])) for space in net.prunable}
    space = net.prunable[-1]
    first = {space: np.arange(net.spaces.sizes[space]) % 4 == 0}
    stake[space][:, first[space]] = 100.0
    small = prune_to(net, stake, {7: 1.0}, 0.9995 * expected_macs(net, {7: 1.0}), Rules(), first=first)
    gone = np.flatnonzero(small.owners[space] == 0)
    assert len(gone) and first[space][gone].all()
    assert all((small.owners[name] == net.owners[name]).all() for name in net.prunable if name != space)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="gate_rate"):
        VibOptions(gate_rate=0)
    assert VibOptions().exponent == 0


def test_a_finished_task_answers_as_before_to_the_bit() -> None:
    """Means that are folded into readers must not move what a finished task reads."""
    net = shared(separate())
    owners = {space: vector.copy() for space, vector in net.owners.items()}
    for space in net.prunable:
        owners[space][: len(owners[space]) // 2] = 1
    net = net.with_owners(owners)
    given = pruning(net, Budget(None, dict.fromkeys(net.tasks, 100.0)))
    ones = {space: np.ones(net.spaces.sizes[space]) for space in net.prunable}
    gates = Gates(net, ones, {}, 0.1, frozen=2)
    recipe = Recipe(4, 32, 0.01, 0.9, 0, {}, frozen=2)
    trained = fit(net, given.train, given.targets, recipe, given.progress, label="", regulariser=gates)
    after = folded(trained, gates.means())
    x = given.train.x[:8]
    first, second, _ = net.tasks
    assert torch.equal(evaluate(after.graph, x)[second], evaluate(net.graph, x)[second])
    assert not torch.allclose(evaluate(after.graph, x)[first], evaluate(net.graph, x)[first])
    moved = np.concatenate([np.abs(mean - 1) > 1e-3 for mean in gates.means().values()])
    serves = np.concatenate([(net.owners[space] & 2) != 0 for space in net.prunable])
    assert moved[~serves].any() and not moved[serves].any()
