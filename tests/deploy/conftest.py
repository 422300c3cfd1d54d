"""A device of its own for each test: this machine, with another folder to keep things in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pamc_devices.base import Device
from pamc_devices.find import opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the device, with a name that a careless script would trip over."""
    return tmp_path / "the device's $home"


@pytest.fixture
def device(home: Path) -> Iterator[Device]:
    """This machine as a device."""
    with opened(f"local://{home}") as found:
        yield found
