"""Small definitions of the network families that pamc supports, for tests."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from tests.zoo.concat import densenet, squeezenet
from tests.zoo.lenet import lenet
from tests.zoo.mobilefacenet import mobilefacenet
from tests.zoo.mobilenet import mobilenet_v2, small_mobilenet
from tests.zoo.resnet import resnet18, resnet50, se_resnet, small_resnet
from tests.zoo.vgg import vgg11, vgg16_bn

__all__ = ["NETWORKS", "Entry", "network"]


@dataclass(frozen=True)
class Entry:
    """A definition `build(classes, width=...)` and the input shape that it is for."""

    build: Callable[..., nn.Module]
    shape: tuple[int, ...]
    width: int


NETWORKS = {
    "lenet": Entry(lenet, (1, 28, 28), 6),
    "vgg11": Entry(vgg11, (3, 32, 32), 3),
    "vgg16_bn": Entry(vgg16_bn, (3, 32, 32), 2),
    "resnet18": Entry(resnet18, (3, 32, 32), 4),
    "resnet50": Entry(resnet50, (3, 32, 32), 2),
    "se_resnet": Entry(se_resnet, (3, 32, 32), 4),
    "small_resnet": Entry(small_resnet, (3, 32, 32), 4),
    "mobilenet_v2": Entry(mobilenet_v2, (3, 32, 32), 1),
    "small_mobilenet": Entry(small_mobilenet, (3, 32, 32), 2),
    "mobilefacenet": Entry(mobilefacenet, (3, 32, 32), 2),
    "squeezenet": Entry(squeezenet, (3, 33, 33), 2),
    "densenet": Entry(densenet, (3, 16, 16), 3),
}


def network(name: str, classes: int = 4, seed: int = 0, width: int | None = None) -> nn.Module:
    """A network in inference mode with random weights; its norms are far from the identity."""
    entry = NETWORKS[name]
    generator = torch.Generator().manual_seed(seed)
    module = entry.build(classes, width=width or entry.width)
    for parameter in module.parameters():
        fan = max(1, parameter[0].numel()) if parameter.dim() > 1 else 4
        parameter.data = torch.randn(parameter.shape, generator=generator) * (2.0 / fan) ** 0.5
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data = 0.6 + 0.4 * torch.rand(norm.weight.shape, generator=generator)
            norm.running_mean = 0.2 * torch.randn(norm.bias.shape, generator=generator)
            norm.running_var = 0.5 + torch.rand(norm.bias.shape, generator=generator)
    return module.eval()
