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
# One pruning step all the way down to the budget, and no fine-tuning.
MODEL = """\
name: kit
tasks:
{tasks}
data: {{train: "data.py:data", eval: "data.py:data"}}
merge: {{method: {method}, options: {options}}}
prune:
  method: taylor
  budget: {{expected_macs: {budget}}}
  options: {{step: 0.95, recover: 1, warmup: 0, epochs: 0}}
train: {{batch_size: 16, epochs: 0, learning_rate: 1e-4}}
baseline: false
"""


def write_project(root: Path, name: str, count: int) -> None:
    (root / "nets.py").write_text(NETS)
    (root / "data.py").write_text(DATA.format(shape=NETWORKS[name].shape))
    for index in range(count):
        save_file(network(name, 3 + index, index).state_dict(), root / f"{index}.safetensors")


def write_model(root: Path, name: str, count: int, method: str) -> Path:
    tasks = [
        f'  t{index}: {{model: "nets.py:network", args: {{name: {name}, classes: {3 + index}}}, '
        f"weights: {index}.safetensors, metric: accuracy}}"
        for index in range(count)
    ]
    options = "{samples: 24}" if method == "pam" else "{}"
    text = MODEL.format(tasks="\n".join(tasks), method=method, options=options, budget=BUDGET)
    (root / f"{method}.yaml").write_text(text)
    return root / f"{method}.yaml"


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


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("name", FAMILIES)
def test_built_and_verified(name: str, tmp_path: Path) -> None:
    x = np.random.default_rng(9).normal(size=(2, *NETWORKS[name].shape)).astype(np.float32)
    for count, method in product((2, 3), ("concat", "pam")):
        write_project(tmp_path, name, count)
        spec = load_spec(write_model(tmp_path, name, count, method))
        out = tmp_path / f"{method}-{count}"
        manifest = build(spec, BuildOptions(out, cache_dir=tmp_path / "cache"), QuietProgress()).manifest
        assert manifest is not None
        assert {check.task_set for check in manifest.verification} == set(spec.task_sets)
        assert len(spec.task_sets) == 2**count - 1
        amounts = [entry.macs for entry in manifest.task_sets.values()]
        assert 0 < sum(amount.bundle for amount in amounts) <= 1.001 * BUDGET * sum(item.separate for item in amounts)
        runtime = pamc.load(out)
        wanted = {task: output.numpy() for task, output in evaluate(runtime.bundle.net.graph, x).items()}
        for text in spec.task_sets:
            for task, answers in runtime.run(x, tasks=text.split("+")).items():
                assert answers.shape == (2, 3 + int(task[1:]))
                scale = float(np.abs(wanted[task]).max())
                assert float(np.abs(answers - wanted[task]).max()) <= 1e-4 * scale, (out.name, text, task)
