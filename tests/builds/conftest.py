"""Bundles that several tests look at."""

from collections.abc import Mapping

import pytest

from pamc.bundle import Bundle
from tests.builds.kinds import build_kinds


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Bundle]:
    """The same small project in every kind of numbers, with ONNX and TFLite files for some of its task sets."""
    return build_kinds(tmp_path_factory.mktemp("kinds") / "kit")
