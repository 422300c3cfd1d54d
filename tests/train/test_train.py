"""The training loop: masks, losses, metrics, determinism."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pamc.errors import UserCodeError
from pamc.graph.interpret import evaluate
from pamc.graph.serial import dump
from pamc.progress import QuietProgress
from pamc.train import MultitaskModule, Recipe, Regulariser, Samples, Target, drop, fit, score
from pamc.train.metrics import task_loss
from pamc.train.samples import batches
from tests.prune.nets import samples, separate, shared

ACCURACY = Target("a", "accuracy", "cross_entropy")


def targets(net):  # type: ignore[no-untyped-def]
    return [Target(task, "accuracy", "cross_entropy") for task in net.tasks]


def test_the_module_computes_what_the_graph_computes() -> None:
    net = shared(separate("se_resnet"))
    x = torch.randn(3, *net.graph.shapes["input"])
    with torch.no_grad():
        found = MultitaskModule(net).eval()(x)
    for task, wanted in evaluate(net.graph, x).items():
        torch.testing.assert_close(found[task], wanted, rtol=0, atol=1e-5)


def test_training_keeps_forbidden_links_at_zero_and_lowers_the_loss() -> None:
    net = shared(separate())
    data = samples(net, 128)
    losses = []

    def watch(module: MultitaskModule) -> None:
        with torch.no_grad():
            outputs = module(torch.as_tensor(data.x))
        losses.append(sum(float(F.cross_entropy(outputs[t], torch.as_tensor(data.labels[t]))) for t in net.tasks))

    shuffled = Samples(data.x, {task: values[::-1].copy() for task, values in data.labels.items()})
    data = shuffled
    trained = fit(net, shuffled, targets(net), Recipe(40, 64, distill=0.0), QuietProgress(), on_gradient=watch)
    assert losses[-1] < 0.8 * losses[0]
    for node in trained.graph.nodes:
        mask = trained.mask(node)
        if mask is not None:
            links = np.abs(trained.graph.array(node, "weight")).reshape(*mask.shape, -1).max(axis=2)
            assert (links[~mask] == 0).all()


@pytest.mark.parametrize("name", ["lenet", "se_resnet"])
def test_a_frozen_task_answers_as_before_while_the_others_learn(name: str) -> None:
    net = shared(separate(name))
    data = samples(net, 64)
    other = Samples(data.x, {task: values[::-1].copy() for task, values in data.labels.items()})
    recipe = Recipe(4, 32, learning_rate=0.05, distill=0.0, frozen=net.task_set(["b"]))
    key = net.graph.by_name[net.graph.outputs["b"]].params["weight"]
    heads = []

    def watch(module: MultitaskModule) -> None:
        heads.append(module.param(key).detach().clone())

    before = evaluate(net.graph, torch.from_numpy(data.x))
    trained = fit(net, other, targets(net), recipe, QuietProgress(), on_gradient=watch)
    after = evaluate(trained.graph, torch.from_numpy(data.x))
    # Not only at the end: what the others read must not move while they learn to read it.
    assert len(heads) == 4 and all(torch.equal(head, heads[0]) for head in heads)
    assert torch.equal(after["b"], before["b"])
    assert not torch.allclose(after["a"], before["a"], atol=1e-2)


def test_input_normalisation_does_not_move() -> None:
    from pamc.capture import align, capture
    from pamc.spec import Normalize
    from tests.zoo import network

    net = align(
        {
            task: capture(task, network("lenet", 3, seed), (1, 28, 28), normalize=Normalize((0.3,), (0.5,)))
            for seed, task in enumerate(("a", "b"))
        }
    )
    trained = fit(net, samples(net), targets(net), Recipe(3, 32), QuietProgress())
    for role in ("scale", "shift"):
        node = next(node for node in net.graph.nodes if role in node.params)
        assert (trained.graph.array(node, role) == net.graph.array(node, role)).all()


def test_batch_norms_learn_statistics() -> None:
    net = separate("small_resnet")
    trained = fit(net, samples(net, 64), targets(net), Recipe(3, 32), QuietProgress())
    node = next(node for node in net.graph.nodes if "mean" in node.params)
    assert not np.array_equal(trained.graph.array(node, "mean"), net.graph.array(node, "mean"))


def test_a_seed_gives_the_same_weights_whatever_ran_before() -> None:
    net = shared(separate())
    data = samples(net)
    first = dump(fit(net, data, targets(net), Recipe(5, 32), QuietProgress()))
    torch.manual_seed(99)
    torch.rand(7)
    assert dump(fit(net, data, targets(net), Recipe(5, 32), QuietProgress())) == first
    assert dump(fit(net, data, targets(net), Recipe(5, 32, seed=1), QuietProgress())) != first


def test_loss_weights_scale_a_task() -> None:
    net = separate(count=2)
    data = samples(net)
    trained = fit(net, data, targets(net), Recipe(5, 32, weights={"b": 0.0}), QuietProgress())
    for node in net.graph.nodes:
        if node.name.startswith(("a.", "b.")) and "weight" in node.params:
            moved = not np.array_equal(trained.graph.array(node, "weight"), net.graph.array(node, "weight"))
            assert moved == node.name.startswith("a.")


class Pull(Regulariser):
    """Halves what readers see, counts its passes, and pulls its own parameter and one weight to zero."""

    rate = 0.5

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.passes = 0
        self.own = torch.nn.Parameter(torch.ones(1))

    def reading(self, samples: int):  # type: ignore[no-untyped-def]
        assert samples == 32
        self.passes += 1
        return lambda name, value: 0.5 * value

    def penalty(self, param):  # type: ignore[no-untyped-def]
        return 100.0 * (self.own.square().sum() + param(self.key).square().sum())


def test_a_regulariser_gates_penalises_and_trains_at_its_own_rate() -> None:
    net = separate()
    key = net.graph.by_name["conv1"].params["weight"]
    pull = Pull(key)
    data = samples(net)
    plain = fit(net, data, targets(net), Recipe(4, 32), QuietProgress())
    pulled = fit(net, data, targets(net), Recipe(4, 32), QuietProgress(), regulariser=pull)
    assert pull.passes == 4
    # Adam moves by about its rate per step, 0.5 down to 0 by a cosine; the weights at theirs, 1e-3.
    assert abs(float(pull.own.detach()) - 1.0) > 0.3
    assert np.abs(pulled.graph.params[key]).sum() < np.abs(plain.graph.params[key]).sum()
    assert np.abs(pulled.graph.params[key] - net.graph.params[key]).max() < 0.01
    assert set(pulled.graph.params) == set(net.graph.params)


def test_a_loss_that_is_not_finite_is_reported() -> None:
    net = separate(count=2)
    data = samples(net)
    broken = Samples(data.x * np.float32(1e38), data.labels, data.teacher)
    with pytest.raises(UserCodeError, match="not finite"):
        fit(net, broken, targets(net), Recipe(5, 32), QuietProgress())


def test_batches_cover_every_sample_once_an_epoch() -> None:
    data = Samples(np.arange(10, dtype=np.float32)[:, None], {"a": np.arange(10)})
    stream = batches(data, 5, 0, torch.device("cpu"))
    first = torch.cat([next(stream).x, next(stream).x]).flatten().tolist()
    second = torch.cat([next(stream).x, next(stream).x]).flatten().tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("loss", ["cross_entropy", "binary", "mse"])
def test_distillation_is_least_where_the_teacher_is(loss: str) -> None:
    target = Target("a", "accuracy" if loss != "mse" else "mae", loss)
    teacher = torch.randn(6, 4)
    best = task_loss(target, teacher.clone(), None, teacher, 1.0)
    for seed in range(5):
        other = teacher + 0.3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
        assert task_loss(target, other, None, teacher, 1.0) > best


def test_labels_and_teacher_mix_by_their_weight() -> None:
    output, label, teacher = torch.randn(6, 4), torch.randint(0, 4, (6,)), torch.randn(6, 4)
    hard = task_loss(ACCURACY, output, label, None, 0.7)
    soft = task_loss(ACCURACY, output, None, teacher, 0.7)
    mixed = task_loss(ACCURACY, output, label, teacher, 0.7)
    torch.testing.assert_close(hard, F.cross_entropy(output, label))
    torch.testing.assert_close(mixed, 0.3 * hard + 0.7 * soft)
    with pytest.raises(ValueError, match="neither"):
        task_loss(ACCURACY, output, None, None, 0.5)


@pytest.mark.parametrize(("loss", "function"), [("cross_entropy", lambda x: x.softmax(1)), ("binary", torch.sigmoid)])
@pytest.mark.parametrize("distill", [0.0, 0.7, 1.0])
def test_probabilities_are_trained_as_the_logits_that_they_are_of(
    loss: str, function: Callable[[torch.Tensor], torch.Tensor], distill: float
) -> None:
    logits, teacher = (3 * torch.randn(6, 4, dtype=torch.float64) for _ in range(2))
    logits.requires_grad_()
    label = torch.randint(0, 4, (6,)) if loss == "cross_entropy" else torch.randint(0, 2, (6, 4))
    plain, of_probabilities = Target("a", "accuracy", loss), Target("a", "accuracy", loss, probabilities=True)
    wanted = task_loss(plain, logits, label, teacher, distill)
    found = task_loss(of_probabilities, function(logits), label, function(teacher), distill)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (found, wanted)))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary"])
def test_probabilities_of_0_and_1_are_trained_on(loss: str) -> None:
    sure = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    label = torch.tensor([0, 0]) if loss == "cross_entropy" else torch.tensor([[1, 0], [1, 0]])
    value = task_loss(Target("a", "accuracy", loss, probabilities=True), sure, label, 1 - sure.detach(), 0.5)
    value.backward()
    assert value.isfinite() and sure.grad is not None and sure.grad.isfinite().all()


def test_scores() -> None:
    outputs = np.array([[1.0, 2.0], [3.0, 0.0], [0.5, 0.4], [0.0, 1.0]])
    assert score(ACCURACY, outputs, np.array([1, 0, 1, 1])) == 75.0
    binary = Target("a", "accuracy", "binary")
    assert score(binary, outputs - 0.45, np.array([[1, 1], [1, -1], [1, -1], [-1, -1]])) == 87.5
    assert score(binary, outputs - 0.45, np.array([[1, 1], [1, 0], [1, 0], [0, 0]])) == 87.5
    sure = Target("a", "accuracy", "binary", probabilities=True)
    assert score(sure, np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[1, 0], [0, 1]])) == 50.0
    assert score(Target("a", "mae", "mse"), np.array([[1.0], [3.0]]), np.array([2, 1])) == 1.5
    assert score(Target("a", "mse", "mse"), np.array([[1.0], [3.0]]), np.array([2, 1])) == 2.5
    assert drop(ACCURACY, 95.0, 94.0) == 1.0
    assert drop(Target("a", "mae", "mse"), 1.0, 1.25) == 0.25
