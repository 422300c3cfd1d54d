"""What counting needs, and one small bundle."""

from __future__ import annotations

import os
import shutil

import pytest

from pamc.bundle import Bundle
from tests.counting.nets import theory_bundle


@pytest.fixture(scope="session")
def counting() -> None:
    """Skip where nothing can be counted; fail instead where the variable CI is set."""
    for need, package in (("qemu-aarch64", "qemu-user"), ("gcc", "gcc"), ("apt-get", "apt")):
        if shutil.which(need) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(
                f"{need} is not installed: apt-get install {package}"
            )


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return theory_bundle(tmp_path_factory.mktemp("counting") / "theory")
