"""The fine-tuning loop, on Lightning Fabric so that a GPU, or several, are used when there are any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from pamc.errors import UserCodeError
from pamc.graph import MultitaskGraph, cost
from pamc.graph.interpret import evaluate
from pamc.graph.owners import DTYPE
from pamc.graph.threads import takes_threads, threads_for
from pamc.progress import Progress
from pamc.train.metrics import Target, task_loss
from pamc.train.module import MultitaskModule
from pamc.train.regulariser import Regulariser
from pamc.train.samples import Samples, batches

__all__ = ["Recipe", "fit", "predict", "takes_the_machine"]

CLIP_NORM = 5.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: ``steps`` mini-batches of ``batch_size`` with Adam, the learning rate falling to zero by a cosine.

    ``distill`` is the weight of the original networks' answers against the labels; ``weights`` scale the tasks' losses
    (1 where absent). Units that serve a task in the mask ``frozen`` stay as they are, so these tasks answer as before.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    distill: float = 0.9
    seed: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    frozen: int = 0


def _fabric() -> Fabric:
    # DataParallel keeps one process, so a build behaves the same on one GPU and on several.
    strategy = "dp" if torch.cuda.device_count() > 1 else "auto"
    devices = "auto" if torch.cuda.is_available() else 1
    return Fabric(accelerator="auto", devices=devices, strategy=strategy)


def takes_the_machine(work: float) -> bool:
    """Whether training has the accelerator or all threads to itself; ``work`` is the MACs of one mini-batch."""
    return takes_threads(work) or _fabric().device.type != "cpu"


@contextmanager
def _deterministic(seed: int, work: float) -> Iterator[None]:
    """The same seed gives the same weights, whatever ran before. ``work`` is the MACs of one mini-batch."""
    state, algorithms = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory that nobody wrote, and filling it takes a tenth of the time.
    memory.fill_uninitialized_memory = False
    try:
        with threads_for(work):
            yield
    finally:
        torch.set_rng_state(state)
        torch.use_deterministic_algorithms(algorithms)
        memory.fill_uninitialized_memory = filled


def _parameter_groups(module: MultitaskModule, recipe: Recipe) -> list[dict[str, Any]]:
    """The weights, and the regulariser's own parameters where it has some, each with its highest learning rate."""
    own = [] if module.regulariser is None else list(module.regulariser.parameters())
    held = {id(parameter) for parameter in own}
    weights = [parameter for parameter in module.parameters() if id(parameter) not in held]
    groups = [{"params": weights, "lr": recipe.learning_rate, "peak": recipe.learning_rate}]
    if module.regulariser is not None and own:
        groups.append({"params": own, "lr": module.regulariser.rate, "peak": module.regulariser.rate})
    return groups


def _still(module: MultitaskModule, frozen: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Parameters with units that serve a task in ``frozen``: each with the rows of these units and their values."""
    found = []
    for node in module.net.graph.nodes if frozen else ():
        for key in node.params.values():
            parameter = module.param(key)
            serves = (module.net.owners_along(node.name) & DTYPE(frozen)) != 0
            rows = torch.from_numpy(np.flatnonzero(serves)).to(parameter.device)
            if len(rows):
                found.append((parameter, rows, parameter.detach()[rows].clone()))
    return found


def fit(
    net: MultitaskGraph,
    samples: Samples,
    targets: Sequence[Target],
    recipe: Recipe,
    progress: Progress,
    *,
    label: str = "fine-tuning",
    on_gradient: Callable[[MultitaskModule], None] | None = None,
    regulariser: Regulariser | None = None,
) -> MultitaskGraph:
    """Train all tasks jointly and return the network with new weights.

    ``on_gradient`` sees the module after every backward pass, before the optimiser moves the weights. The parameters
    of a ``regulariser`` are trained in place. Raises UserCodeError when the loss is not finite.
    """
    if recipe.steps <= 0:
        return net
    with _deterministic(recipe.seed, cost(net, net.everyone).macs * recipe.batch_size):
        fabric = _fabric()
        inner = MultitaskModule(net, regulariser)
        optimiser = torch.optim.Adam(_parameter_groups(inner, recipe), fused=True)
        module, optimiser = fabric.setup(inner, optimiser)
        module.train()
        still = _still(inner, recipe.frozen)
        stream = batches(samples, recipe.batch_size, recipe.seed, fabric.device)
        with progress.track(recipe.steps, label) as bar:
            for step in range(recipe.steps):
                for group in optimiser.param_groups:
                    group["lr"] = 0.5 * group["peak"] * (1 + math.cos(math.pi * step / recipe.steps))
                batch = next(stream)
                outputs = module(batch.x)
                loss = sum(
                    recipe.weights.get(target.task, 1.0)
                    * task_loss(
                        target,
                        outputs[target.task],
                        batch.labels.get(target.task),
                        batch.teacher.get(target.task),
                        recipe.distill,
                    )
                    for target in targets
                )
                assert isinstance(loss, torch.Tensor)
                if regulariser is not None:
                    loss = loss + regulariser.penalty(inner.param)
                optimiser.zero_grad()
                fabric.backward(loss)
                if not torch.isfinite(loss):
                    raise UserCodeError(
                        "the training loss is not finite",
                        why="the learning rate is too high, or the data hold NaN or extreme values",
                        cure="lower `train: {learning_rate: ...}` or normalise the input",
                    )
                if on_gradient is not None:
                    on_gradient(inner)
                for parameter, rows, _ in still:
                    if parameter.grad is not None:
                        parameter.grad[rows] = 0
                fabric.clip_gradients(module, optimiser, max_norm=CLIP_NORM, error_if_nonfinite=False)
                optimiser.step()
                bar.advance(1)
        with torch.no_grad():
            # Running statistics move without gradients.
            for parameter, rows, values in still:
                parameter[rows] = values
        return inner.cpu().to_graph()


def predict(net: MultitaskGraph, x: NDArray[np.generic]) -> Mapping[str, NDArray[np.floating]]:
    """Raw outputs of every task for ``x`` ``(n, *input shape)``, in inference mode."""
    return {task: output.numpy() for task, output in evaluate(net.graph, x).items()}
