"""The single-task networks that a suite starts from."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.suites import datasets
from benchmarks.suites.datasets import Dataset
from benchmarks.suites.paper import nets
from benchmarks.suites.paper.setups import Networks
from pamc.capture import align, capture, load_weights
from pamc.graph import MultitaskGraph
from pamc.train import score

__all__ = ["TASKS", "dataset", "separate", "train"]

DATASETS = {
    "digits": datasets.digits,
    "mnist5": datasets.mnist5,
    "fashion4": datasets.fashion4,
    "cifar10mt": datasets.cifar10mt,
    "composites": datasets.composites,
}


TASKS = {
    "digits": ("digit", "stroke3", "slant3"),
    "mnist5": ("digit", "parity", "ge5", "stroke3", "slant3"),
    "fashion4": ("article", "group", "tone3", "texture3"),
    "cifar10mt": ("object10", "animal2", "medium4", "bgtone3"),
    "composites": ("A", "B"),
}
"""The tasks of every data set, so that nothing is downloaded to plan what to do."""


def dataset(networks: Networks, seed: int) -> Dataset:
    """The images and labels of a suite; the seed draws them."""
    return DATASETS[networks.data](networks.sizes, seed, **networks.data_options)


def train(networks: Networks, seed: int, task: str, path: Path) -> str:
    """Train the network of one task and write its weights. Returns a line about it."""
    began = time.monotonic()
    data = dataset(networks, seed)
    net = fitted(_fresh(networks, data, seed, task), data, task, networks, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(net.state_dict(), beside)
    os.replace(beside, path)
    return f"{accuracy(net, data, task):.2f} % in {time.monotonic() - began:.1f} s"


def separate(networks: Networks, data: Dataset, seed: int, weights: Mapping[str, Path]) -> MultitaskGraph:
    """The trained networks side by side, every unit owned by its own task."""
    graphs = {}
    for task in data.tasks:
        net = _fresh(networks, data, seed, task)
        load_weights(net, weights[task])
        graphs[task] = capture(task, net.eval(), data.shape, dtype="uint8", normalize=data.normalize)
    return align(graphs)


def fitted(net: nn.Module, data: Dataset, task: str, networks: Networks, seed: int) -> nn.Module:
    """The network trained on the labels of one task, with AdamW and a one-cycle learning rate."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device).train()
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.labels[task])
    steps = len(x) // networks.batch
    optimizer = torch.optim.AdamW(net.parameters(), networks.learning_rate, weight_decay=networks.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, networks.learning_rate, total_steps=networks.epochs * steps
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(networks.epochs):
        for chosen in torch.randperm(len(x), generator=generator)[: steps * networks.batch].split(networks.batch):
            outputs, truth = net(normalized(x[chosen].to(device), data)), y[chosen].to(device)
            if data.loss == "binary":
                loss = F.binary_cross_entropy_with_logits(outputs, truth.to(outputs.dtype))
            else:
                loss = F.cross_entropy(outputs, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.cpu().eval()


def accuracy(net: nn.Module, data: Dataset, task: str) -> float:
    """Percent of the labels of the test images that a network gets right."""
    (target,) = (target for target in data.targets if target.task == task)
    with torch.no_grad():
        outputs = torch.cat([net(normalized(x, data)) for x in torch.from_numpy(data.test.x).split(256)])
    return score(target, outputs.numpy(), data.test.labels[task])


def normalized(x: Tensor, data: Dataset) -> Tensor:
    """What the captured graph does to its uint8 input."""
    mean, std = (
        torch.tensor(values, device=x.device).view(-1, 1, 1) for values in (data.normalize.mean, data.normalize.std)
    )
    return (x.float() / 255 - mean) / std


def _fresh(networks: Networks, data: Dataset, seed: int, task: str) -> nn.Module:
    # Different tasks start from different weights, as networks that were trained apart would.
    own = seed * len(data.tasks) + data.tasks.index(task)
    return nets.make(networks.net, data.shape, data.classes[task], networks.net_options, own)
