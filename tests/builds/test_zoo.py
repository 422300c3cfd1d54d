"""Every supported family of networks through the whole pipeline, with random weights on random data."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

import pamc
from pamc.build import BuildOptions, build
from pamc.bundle import Manifest
from pamc.capture import capture
from pamc.config import load_spec
from pamc.graph import Graph
from pamc.graph.interpret import evaluate
from pamc.progress import QuietProgress
from tests.zoo import NETWORKS, network

FAMILIES = [
    pytest.param("mobilenet_v2", marks=pytest.mark.slow),
    pytest.param("resnet18", marks=pytest.mark.slow),
    "vgg16_bn",
    "mobilefacenet",
    "squeezenet",
    "densenet",
]
BUDGET = 0.7
NETS = "from tests.zoo import network\n"
DATA = """\
import numpy as np

def data():
    x = np.random.default_rng(5).normal(size=(48, *{shape})).astype(np.float32)
    return x, {{}}
"""
MODEL = """\
name: kit
tasks:
{tasks}
data: {{train: "data.py:data", eval: "data.py:data"}}
train: {{batch_size: 16, epochs: 0, learning_rate: 1e-4}}
{rest}
"""
# One pruning step all the way down to the budget, and no fine-tuning.
PRUNED = """\
merge: {{method: {method}, options: {options}}}
prune:
  method: taylor
  budget: {{expected_macs: {budget}}}
  options: {{step: 0.95, recover: 1, warmup: 0, epochs: 0}}
baseline: false
"""
# Few and large steps, but with the race and all that belongs to it.
SHARED = """\
prune:
  budget: {max_drop: 60}
  options:
    {step: 0.9, recover: 1, warmup: 0, epochs: 0, halvings: 0, detours: 0, attempts: 1, restarts: 2,
     share_step: 0.9, share_recover: 1, trials: 2, trial_recover: 1}
"""


def write_project(root: Path, name: str, count: int) -> None:
    (root / "nets.py").write_text(NETS)
    (root / "data.py").write_text(DATA.format(shape=NETWORKS[name].shape))
    for index in range(count):
        save_file(network(name, 3 + index, index).state_dict(), root / f"{index}.safetensors")


def write_model(root: Path, name: str, count: int, rest: str) -> Path:
    tasks = [
        f'  t{index}: {{model: "nets.py:network", args: {{name: {name}, classes: {3 + index}}}, '
        f"weights: {index}.safetensors, metric: accuracy}}"
        for index in range(count)
    ]
    (root / "model.yaml").write_text(MODEL.format(tasks="\n".join(tasks), rest=rest))
    return root / "model.yaml"


@pytest.fixture
def captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture takes nearly all of the time, and all builds of a test are of the same networks."""
    held: dict[str, Graph] = {}
    real = capture

    def once(name: str, *args: Any, **options: Any) -> Graph:
        if name not in held:
            held[name] = real(name, *args, **options)
        return held[name]

    monkeypatch.setattr("pamc.build.capture", once)


def made(name: str, count: int, rest: str, root: Path, out: Path) -> Manifest:
    """A bundle of so many networks, whose files all answer as PyTorch does."""
    write_project(root, name, count)
    spec = load_spec(write_model(root, name, count, rest))
    manifest = build(spec, BuildOptions(out, cache_dir=root / "cache"), QuietProgress()).manifest
    assert manifest is not None
    assert {check.task_set for check in manifest.verification} == set(spec.task_sets)
    assert len(spec.task_sets) == 2**count - 1
    x = np.random.default_rng(9).normal(size=(2, *NETWORKS[name].shape)).astype(np.float32)
    runtime = pamc.load(out)
    wanted = {task: output.numpy() for task, output in evaluate(runtime.bundle.net.graph, x).items()}
    for text in spec.task_sets:
        for task, answers in runtime.run(x, tasks=text.split("+")).items():
            assert answers.shape == (2, 3 + int(task[1:]))
            scale = float(np.abs(wanted[task]).max())
            assert float(np.abs(answers - wanted[task]).max()) <= 1e-4 * scale, (out.name, text, task)
    return manifest


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("name", FAMILIES)
def test_pruned_after_merging(name: str, tmp_path: Path) -> None:
    for count, method in product((2, 3), ("concat", "pam")):
        options = "{samples: 24}" if method == "pam" else "{}"
        rest = PRUNED.format(method=method, options=options, budget=BUDGET)
        manifest = made(name, count, rest, tmp_path, tmp_path / f"{method}-{count}")
        amounts = [entry.macs for entry in manifest.task_sets.values()]
        assert 0 < sum(amount.bundle for amount in amounts) <= 1.001 * BUDGET * sum(item.separate for item in amounts)


@pytest.mark.usefixtures("captured_once")
# VGG is a chain, as the networks of other tests are, and the search of MobileNetV2 takes minutes.
@pytest.mark.parametrize("name", ["resnet18", "squeezenet", "densenet"])
def test_merged_after_pruning(name: str, tmp_path: Path) -> None:
    manifest = made(name, 2, SHARED, tmp_path, tmp_path / "kit")
    assert (manifest.merge.method, manifest.prune.method) == ("separate", "share")
    for text, entry in manifest.task_sets.items():
        assert entry.macs.pruned_separately is not None
        assert 0 < entry.macs.bundle <= entry.macs.pruned_separately < entry.macs.separate, text
