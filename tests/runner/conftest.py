"""Runners for this machine, built once, and bundles for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnxruntime
import pytest

from pamc.bundle import Bundle
from pamc_devices.runner import PLATFORMS, build_runner
from tests.builds.kinds import build_kinds


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Bundle]:
    """The same small project in every kind of numbers, with ONNX and TFLite files for some of its task sets."""
    return build_kinds(tmp_path_factory.mktemp("runner") / "kit")


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The runner of every platform by its name."""
    folder = tmp_path_factory.mktemp("builds")
    return {name: build_runner(platform, folder / name) for name, platform in PLATFORMS.items()}


@pytest.fixture(scope="session")
def library() -> Path:
    """ONNX Runtime's shared library for this machine, from the installed package."""
    (found,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    return found


@pytest.fixture(scope="session")
def cc() -> str:
    """This machine's own C compiler. It has the sanitizers, which zig has not for every system."""
    found = shutil.which("gcc")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("gcc is not installed: apt-get install gcc")
    return found
