"""Fixtures and options of all tests."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest_plugins = ["tests.boards.fixtures"]

# The tests run in parallel processes; more threads in each, and in those they start, only contend for the same cores.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# A job that runs in the background ignores Ctrl-C, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with `goldens/NAME` beside the test file."""

    def check(name: str, text: str) -> None:
        path: Path = request.path.parent / "goldens" / name
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text, f"if the change is right: pytest --update-goldens {request.path.name}"

    return check
