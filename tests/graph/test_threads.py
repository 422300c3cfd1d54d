"""Small networks compute the same whatever the number of threads, which orders sums."""

from __future__ import annotations

import numpy as np
import torch

from pamc.graph.interpret import evaluate
from pamc.graph.threads import threads_for
from tests.zoo.captured import aligned


def test_small_networks_answer_to_the_bit_on_any_number_of_threads() -> None:
    net = aligned("lenet", 3)
    x = np.random.default_rng(0).normal(size=(256, *net.graph.shapes[net.graph.input.name])).astype(np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(evaluate(net.graph, x))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(answers[task], found[0][task]) for answers in found for task in net.tasks)


def test_large_work_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with threads_for(1e12):
            assert torch.get_num_threads() == 2
        with threads_for(1.0):
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
