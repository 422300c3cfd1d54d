"""This machine as a device, by the same scripts as any other."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence

from pamc.errors import DeviceError
from pamc_devices.address import Address
from pamc_devices.base import Driver, Listed
from pamc_devices.failures import last_words
from pamc_devices.remote import ShellDevice
from pamc_devices.states import OfflineError

__all__ = ["LocalDevice", "driver"]


class LocalDevice(ShellDevice):
    """This machine. Commands run with the user's rights and environment, messages in English."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.scratch = tempfile.gettempdir()

    def _transport(self, line: str) -> Sequence[str]:
        return ("sh", "-c", line)

    def _refusal(self, text: str) -> DeviceError:
        return OfflineError("no shell can be started on this machine", where=self.url, why=last_words(text))

    def _default_home(self) -> str:
        from platformdirs import user_data_dir

        return os.path.abspath(user_data_dir("pamc"))


def _open(address: Address) -> LocalDevice:
    return LocalDevice(address.bare("local"))


driver = Driver(
    summary="this machine",
    open=_open,
    listed=lambda: (Listed("local", "ready", f"{platform.system()} {platform.machine()}"),),
)
