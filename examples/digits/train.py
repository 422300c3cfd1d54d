"""Trains the three networks of the digits example: `python train.py` writes weights/<task>.safetensors."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import data
import nets
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "weights"
MEAN, STD = 0.1307, 0.3081


@dataclass(frozen=True)
class Settings:
    """How a network is trained; images are shifted by up to `shift` pixels, which changes none of the labels."""

    epochs: int = 30
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    shift: int = 2
    seed: int = 0


def train(task: str, settings: Settings) -> nn.Module:
    """A trained network; the same settings give the same bytes whatever the number of cores."""
    pixels, labels = data.train()
    x, y = normalize(pixels), torch.from_numpy(labels[task])
    steps = len(x) // settings.batch
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = nets.lenet(data.CLASSES[task])
        optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=settings.epochs * steps
        )
        for _ in range(settings.epochs):
            for chosen in torch.randperm(len(x))[: steps * settings.batch].split(settings.batch):
                loss = F.cross_entropy(net(_shifted(x[chosen], settings.shift)), y[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return net.eval()


def normalize(pixels: data.Images) -> Tensor:
    """What pamc puts in front of the networks (`input.normalize` in model.yaml), so they do not contain it."""
    return (torch.from_numpy(pixels).float() / 255 - MEAN) / STD


def accuracy(net: nn.Module, task: str) -> float:
    """Percent of the eval images that a network gets right."""
    pixels, labels = data.evaluate()
    with torch.no_grad():
        predicted = net(normalize(pixels)).argmax(1).numpy()
    return 100 * float(np.mean(predicted == labels[task]))


def ensure(folder: Path = WEIGHTS, settings: Settings | None = None) -> dict[str, float]:
    """Trains each task whose weights are missing or stale; returns the accuracy of every task."""
    settings = settings or Settings()
    folder.mkdir(parents=True, exist_ok=True)
    reached: dict[str, float] = {}
    for task, classes in data.CLASSES.items():
        path, key = folder / f"{task}.safetensors", _key(task, settings)
        began = time.perf_counter()
        if _key_of(path) == key:
            net, how = nets.lenet(classes).eval(), "cached"
            net.load_state_dict(load_file(path))
        else:
            net = train(task, settings)
            _save(net, path, key)
            how = f"trained in {time.perf_counter() - began:.1f} s"
        reached[task] = accuracy(net, task)
        print(f"{task:<8}{reached[task]:6.2f} % of the eval images   {how}", flush=True)
    return reached


def _shifted(x: Tensor, most: int) -> Tensor:
    """Every image moved by its own random whole number of pixels, background moving in."""
    count, _, height, width = x.shape
    padded = F.pad(x, (most, most, most, most), value=-MEAN / STD)[:, 0]
    down, across = torch.randint(0, 2 * most + 1, (2, count))
    rows = (down[:, None] + torch.arange(height))[:, :, None]
    columns = (across[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(count)[:, None, None], rows, columns][:, None]


def _key(task: str, settings: Settings) -> str:
    """Changes with whatever the weights depend on: code, data, settings, torch."""
    pixels, labels = data.train()
    digest = hashlib.sha256(f"{task} {asdict(settings)} {torch.__version__}".encode())
    for source in ("nets.py", "train.py"):
        digest.update((HERE / source).read_bytes())
    digest.update(pixels.tobytes())
    digest.update(labels[task].tobytes())
    return digest.hexdigest()


def _key_of(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("key")
    except (OSError, SafetensorError):
        return None


def _save(net: nn.Module, path: Path, key: str) -> None:
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(net.state_dict(), beside, metadata={"key": key})
    os.replace(beside, path)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums do not depend on the number of cores, and so neither do the weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    ensure()
