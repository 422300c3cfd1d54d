"""How long Regroup takes on networks of real width: ``python -m pytest -m campaign tests/merge/test_speed.py``."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from pamc.capture import align, capture
from pamc.merge import METHODS, Calibration

TASKS = "abcd"
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(classes: int, seed: int) -> nn.Module:
    """VGG-16 with two hidden layers of 512, as in the PAM paper's code, for 3x32x32 images."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    channels = 3
    for stage in STAGES:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    hidden = [nn.Flatten(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, classes)]
    network = nn.Sequential(*layers, *hidden)
    for parameter in network.parameters():
        scale = (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1
        parameter.data = torch.randn_like(parameter) * scale
    return network.eval()


@pytest.mark.campaign
def test_pam_on_four_vgg16_takes_less_than_a_minute_on_two_cores() -> None:
    net = align({task: capture(task, vgg16(5, seed), (3, 32, 32)) for seed, task in enumerate(TASKS)})
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 3, 32, 32)).astype(np.float32)
    given = Calibration(x, dict.fromkeys(TASKS, "class"), {task: rng.integers(0, 5, 128) for task in TASKS})
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        started = time.monotonic()
        METHODS.get("pam").function(net, given, METHODS.parse_options("pam", {}))
        took = time.monotonic() - started
    finally:
        torch.set_num_threads(threads)
    assert took < 60
