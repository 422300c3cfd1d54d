"""``convert_with_litert_torch.py SEED FILE``: a random network of all its tasks, as litert-torch writes it.

Run by the Python of a virtual environment that has litert-torch beside what pamc needs.
"""

import sys

import litert_torch
import torch

from pamc.lower import load_target, lower
from tests.exporters.oracles import PlanModule
from tests.lower.nets import batch, random_net


def convert(seed: int, path: str) -> None:
    net = random_net(seed)
    plan = lower(net, [net.everyone], load_target("x86_64"))[net.everyone]
    litert_torch.convert(PlanModule(plan), (torch.tensor(batch(net, 1)),)).export(path)


if __name__ == "__main__":
    convert(int(sys.argv[1]), sys.argv[2])
