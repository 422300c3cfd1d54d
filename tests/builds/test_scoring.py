"""How good a network is on the evaluation data, and how much it lost on the worse of two data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pamc.capture import align
from pamc.graph import Graph, MultitaskGraph, restrict, verify
from pamc.graph.ops import Activation, Flatten, Op, Softmax, Unflatten
from pamc.scoring import Scorer, targets_of, truth_of
from pamc.spec import FunctionRef, TaskSpec
from pamc.train import Samples, Target, predict
from tests.zoo.handmade import Maker

Array = NDArray[Any]
TARGETS = (Target("kind", "accuracy", "cross_entropy"), Target("size", "mae", "mse"))
X = np.random.default_rng(3).normal(size=(40, 3, 8, 8)).astype(np.float32)


def graph(task: str, seed: int) -> Graph:
    maker = Maker(seed=seed)
    return maker.end(task, maker.relu("relu", maker.conv("conv", "input", 6)))


@pytest.fixture(scope="module")
def net() -> MultitaskGraph:
    return align({"kind": graph("kind", 1), "size": graph("size", 2)})


def samples(net: MultitaskGraph, wrong: int, shift: float, **labels: Array) -> Samples:
    """The original networks were right about all but the last ``wrong`` samples, and off by ``shift``."""
    answers = predict(net, X)
    truth = {"kind": answers["kind"].argmax(axis=1), "size": answers["size"] + 1.0}
    teacher = {"kind": np.eye(3)[truth["kind"]], "size": truth["size"] + shift}
    teacher["kind"][len(X) - wrong :] = 0
    teacher["kind"][np.arange(len(X) - wrong, len(X)), (truth["kind"][len(X) - wrong :] + 1) % 3] = 1
    return Samples(X, {**truth, **labels}, teacher)


def test_scores_are_those_of_the_evaluation_data(net: MultitaskGraph) -> None:
    scorer = Scorer(TARGETS, samples(net, 4, 0.25), samples(net, 0, 9.0))
    assert scorer.scores(net) == {"kind": 100.0, "size": pytest.approx(1.0, rel=1e-5)}
    assert scorer.scores(restrict(net, ["size"])) == {"size": pytest.approx(1.0, rel=1e-5)}


def test_a_drop_is_that_of_the_worse_data(net: MultitaskGraph) -> None:
    good, bad = samples(net, 4, 0.25), samples(net, 4, 0.25, kind=(predict(net, X)["kind"].argmax(axis=1) + 1) % 3)
    # On the good data the network beats the original ones by 4 of 40 samples; an error of 1 replaces one of 0.25.
    assert Scorer(TARGETS, good).drops(net) == {"kind": pytest.approx(-10), "size": pytest.approx(0.75, rel=1e-4)}
    # On the bad data the originals are right about those 4 alone, and the network about none.
    for scorer in (Scorer(TARGETS, good, bad), Scorer(TARGETS, bad, good)):
        assert scorer.drops(net)["kind"] == pytest.approx(10)


def test_without_labels_the_originals_are_the_truth(net: MultitaskGraph) -> None:
    held = samples(net, 4, 0.25)
    scorer = Scorer(TARGETS, Samples(X, {}, held.teacher))
    assert scorer.scores(net) == {"kind": pytest.approx(90), "size": pytest.approx(1.25, rel=1e-4)}
    assert scorer.drops(net) == {"kind": pytest.approx(10), "size": pytest.approx(1.25, rel=1e-4)}


ENDS: dict[str, list[Op]] = {
    "logits": [],
    "tanh": [Activation("tanh")],
    "log": [Softmax(log=True)],
    "softmax": [Softmax()],
    "sigmoid": [Activation("sigmoid")],
    "sigmoid of a map": [Unflatten(), Activation("sigmoid"), Flatten()],
}


@pytest.mark.parametrize("loss", ["cross_entropy", "binary", "mse"])
@pytest.mark.parametrize("end", ENDS)
def test_outputs_of_softmax_and_sigmoid_are_probabilities(end: str, loss: str) -> None:
    maker = Maker()
    value = next(iter(maker.end("smile", maker.conv("conv", "input", 6), 2).outputs.values()))
    for number, op in enumerate(ENDS[end]):
        value = maker.add(f"end{number}", op, value)
    net = align({"smile": verify(Graph(tuple(maker.nodes), {"smile": value}, maker.params), "the test")})
    where = FunctionRef(Path("nets.py"), "net")
    task = TaskSpec("smile", where, {}, Path("smile.safetensors"), "mse" if loss == "mse" else "accuracy", loss)
    (target,) = targets_of([task], net)
    probabilities = loss != "mse" and end not in ("logits", "tanh", "log")
    assert target == Target("smile", task.metric, loss, probabilities)


@pytest.mark.parametrize(("probabilities", "middle"), [(False, 0.0), (True, 0.5)])
def test_what_is_more_likely_than_not_holds(probabilities: bool, middle: float) -> None:
    target = Target("smile", "accuracy", "binary", probabilities)
    teacher = {"smile": np.tile(np.array([middle - 0.1, middle + 0.1], np.float32), (len(X), 1))}
    assert (truth_of(target, Samples(X, {}, teacher)) == [False, True]).all()
    held = Samples(X, {"smile": np.tile([0, 1], (len(X), 1))}, teacher)
    assert Scorer((target,), held).judge(lambda _: teacher) == ({"smile": 100.0}, {"smile": 0.0})
