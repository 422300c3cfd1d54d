"""The single-task networks of the suites, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

__all__ = ["NETS", "make"]

Shape = tuple[int, ...]


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling: 6 and 16 filters of 5x5, then 120, 84 and one unit per output."""

    def __init__(self, shape: Shape, outputs: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape[0], 6, 5, padding=padding[0])
        self.conv2 = nn.Conv2d(6, 16, 5, padding=padding[1])
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(_flat(nn.Sequential(self.conv1, self.pool, self.conv2, self.pool), shape), 120)
        self.fc2 = nn.Linear(120, 84)
        self.head = nn.Linear(84, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.head(torch.relu(self.fc2(x)))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def lenet(shape: Shape, outputs: int) -> nn.Module:
    """LeNet-5 for 28x28 images: the first convolution is padded, the second is not."""
    return LeNet(shape, outputs, (2, 0))


def lenet_same(shape: Shape, outputs: int) -> nn.Module:
    """The PAM paper's LeNet-5: both convolutions keep the size of the image."""
    return LeNet(shape, outputs, (2, 2))


def vgg(shape: Shape, outputs: int, width: int = 32, hidden: int = 128) -> nn.Module:
    """Four 3x3 convolutions of 1, 2, 4 and 4 times ``width`` filters, each with batch norm, ReLU and 2x2 pooling."""
    layers: list[nn.Module] = []
    channels = shape[0]
    for filters in (width, 2 * width, 4 * width, 4 * width):
        layers += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        channels = filters
    features = nn.Sequential(*layers)
    flat = _flat(features, shape)
    return nn.Sequential(features, nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def resnet(shape: Shape, outputs: int, width: int = 16, blocks: int = 3) -> nn.Module:
    """The CIFAR ResNet (He et al. 2016, section 4.2): three stages of ``blocks`` blocks; 3 give ResNet-20."""
    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    inner = width
    for stage in range(3):
        for index in range(blocks):
            outer = width * 2**stage
            layers.append(Block(inner, outer, 2 if stage and not index else 1))
            inner = outer
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, outputs))


NETS: Mapping[str, Callable[..., nn.Module]] = {
    "lenet": lenet,
    "lenet-same": lenet_same,
    "vgg": vgg,
    "resnet": resnet,
}


def make(name: str, shape: Shape, outputs: int, options: Mapping[str, object], seed: int) -> nn.Module:
    """A fresh network for images of ``shape``; the seed decides its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETS[name](shape, outputs, **options)


def _flat(layers: nn.Module, shape: Shape) -> int:
    with torch.no_grad():
        return int(layers.eval()(torch.zeros(1, *shape)).numel())
