"""Other people's exporters and interpreters against ours."""

import os
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from platformdirs import user_cache_path

from pamc.export import find_exporter
from pamc.graph import all_task_sets
from pamc.lower import load_target, lower
from pamc.verify.compare import errors
from tests.campaign.backends import BACKENDS
from tests.exporters.oracles import PlanModule
from tests.lower.nets import batch, random_net
from tests.zoo import NETWORKS
from tests.zoo.captured import aligned, images, random_owners

X86 = load_target("x86_64")
FORMATS = ("onnx", "tflite")
# The reference computes in NumPy, window by window: the larger networks take it half a minute.
QUICK = ("lenet", "vgg11", "small_resnet", "se_resnet", "squeezenet", "densenet")


def plans_of(net):
    return {plan.task_set: plan for plan in lower(net, [*all_task_sets(len(net.tasks))], X86).values()}


def converted(plan, x, path):
    """Outputs of what torch.onnx makes of the plan, in ONNX Runtime."""
    import onnxruntime

    torch.onnx.export(PlanModule(plan), (torch.tensor(x),), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(plan.graph.outputs, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


@pytest.mark.slow  # each export traces and decomposes the module again
@pytest.mark.parametrize("seed", [3, 4, 8])
def test_files_answer_as_those_of_pytorchs_own_exporter(seed, tmp_path):
    net = random_net(seed)
    plans, x = plans_of(net), batch(net, 3)
    name = "+".join(net.tasks)
    theirs = converted(plans[name], x, tmp_path / "theirs.onnx")
    for format in FORMATS:
        folder = tmp_path / format
        folder.mkdir()
        exporter = find_exporter(format)
        exporter.write(plans, folder, {})
        ours = exporter.open(folder, name).run(x)
        assert list(ours) == list(theirs)
        assert max(errors(ours[task], theirs[task])[1] for task in ours) < 1e-5


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_the_modules_compute_what_the_plans_say(seed):
    net = random_net(seed)
    x = batch(net, 3)
    for plan in plans_of(net).values():
        with torch.no_grad():
            found = PlanModule(plan)(torch.tensor(x))
        wanted = BACKENDS[0].run(None, plan, x)
        for value, task in zip(found, plan.graph.outputs, strict=True):
            assert errors(value.numpy(), wanted[task])[1] < 1e-6


@pytest.mark.slow  # captures networks of the zoo
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.campaign) for name in NETWORKS]
)
def test_the_reference_implementation_of_onnx_agrees_on_the_zoo(name, tmp_path):
    net = random_owners(aligned(name, 2), seed=1)
    plans, x = plans_of(net), images(net.graph, 2).numpy().astype(np.float32)
    find_exporter("onnx").write(plans, tmp_path, {})
    reference = next(backend for backend in BACKENDS if backend.name == "onnx.reference")
    wanted = {task: value for plan in plans.values() for task, value in BACKENDS[0].run(tmp_path, plan, x).items()}
    for plan in plans.values():
        for task, found in reference.run(tmp_path, plan, x).items():
            assert errors(found, wanted[task])[1] < 1e-5


def _litert_torch() -> Path:
    """The Python of a virtual environment with litert-torch on top of this one's packages (1.2 GB, made once)."""
    folder = user_cache_path("pamc") / "tests" / "litert-torch-0.10.0"
    python, complete = folder / "bin" / "python", folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            (packages,) = folder.glob("lib/python*/site-packages")
            (packages / "pamc-tests.pth").write_text("\n".join(site.getsitepackages()) + "\n")
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "litert-torch==0.10.0"], check=True)
            complete.touch()
    return python


@pytest.mark.campaign  # downloads and installs 1.2 GB
@pytest.mark.parametrize("seed", [3, 4, 8])
def test_files_answer_as_those_of_litert_torch(seed, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    root, path = Path(__file__).parents[2], tmp_path / "theirs.tflite"
    command = [
        str(_litert_torch()),
        str(Path(__file__).with_name("convert_with_litert_torch.py")),
        str(seed),
        str(path),
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(root)}, cwd=root)
    net = random_net(seed)
    plans, x = plans_of(net), batch(net, 3)
    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    (source,) = runner.get_input_details()
    rows = [runner(**{source: sample[None]}) for sample in x]
    name, exporter = "+".join(net.tasks), find_exporter("tflite")
    exporter.write(plans, tmp_path, {})
    for position, (task, ours) in enumerate(exporter.open(tmp_path, name).run(x).items()):
        theirs = np.concatenate([row[f"output_{position}"] for row in rows])
        assert errors(ours, theirs)[1] < 1e-5, task
