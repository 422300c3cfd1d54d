"""`check_networks` collects what is wrong with every network."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pamc.capture import capture, check_networks
from pamc.errors import ConfigError, Problem, UnsupportedModelError, UserCodeError, WeightsError
from pamc.graph import Graph
from tests.zoo.handmade import Maker


def good(task: str, seed: int = 0, shape: tuple[int, ...] = (3, 8, 8)) -> Callable[[], Graph]:
    def make() -> Graph:
        maker = Maker(shape, seed=seed)
        return maker.end(task, maker.relu("relu", maker.conv("conv", "input", 4)))

    return make


def failing(error: Exception) -> Callable[[], Graph]:
    def make() -> Graph:
        raise error

    return make


class Bad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, groups=3)

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(self.conv(x)).mean((2, 3))


def test_everything_at_once() -> None:
    report = check_networks(
        {
            "a": good("a"),
            "b": lambda: capture("b", Bad(), (3, 8, 8)),
            "c": failing(WeightsError("the file is damaged", where="c.safetensors", cure="save it again")),
            "d": failing(UserCodeError("raised", file="nets.py", line=3)),
            "e": good("e", 1, (1, 8, 8)),
            "f": failing(ConfigError.many([Problem("one"), Problem("two")])),
            "g": failing(UnsupportedModelError("unfaithful", cure="make it pure")),
        }
    )
    assert not report.ok
    assert [(item.network, item.op) for item in report.findings] == [
        ("b", "conv2d"),
        ("b", "mish"),
        ("g", "network"),
        ("e", "input"),
    ]
    text = report.render()
    for words in ("mish", "conv", "test_check.py:", "use relu", "c: the file is damaged", "nets.py:3", "one", "two"):
        assert words in text
    assert "a: 1 activation, 1 conv, 1 flatten, 1 global_avg_pool, 1 linear" in text
    assert "in common" not in text
    json.dumps(report.as_dict())
    error = report.error()
    assert isinstance(error, ConfigError)
    assert all(words in str(error) for words in ("mish", "damaged", "nets.py:3", "two"))


def test_findings_alone_are_an_unsupported_model() -> None:
    report = check_networks({"a": good("a"), "b": lambda: capture("b", Bad(), (3, 8, 8))})
    error = report.error()
    assert isinstance(error, UnsupportedModelError) and error.exit_code == 3
    assert len(error.findings) == 2


def test_all_well() -> None:
    report = check_networks({"a": good("a"), "b": good("b", 1)})
    assert report.ok and report.error() is None
    assert "a: 2 layers: 1 with b, 1 of its own" in report.render()
    assert json.loads(json.dumps(report.as_dict()))["align"][0]["diverges"]["is_head"] is True


def test_layer_used_twice_is_noted() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1)
            self.loop = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            for _ in range(3):
                x = torch.relu(self.loop(x))
            return x

    report = check_networks({"a": lambda: capture("a", Twice(), (3, 8, 8))})
    assert report.networks[0].notes == ("loop is used 3 times: its weights are copied for each use",)
    assert "copied for each use" in report.render()


def test_defects_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        check_networks({"a": failing(ZeroDivisionError())})
