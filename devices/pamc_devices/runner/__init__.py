"""The program that runs bundles on a device, for every kind of device, and the runtime that it loads there."""

from pamc_devices.runner.compile import build_runner
from pamc_devices.runner.fetch import fetch_android, fetch_onnxruntime
from pamc_devices.runner.find import PYTHON_RUNNER, find_runner
from pamc_devices.runner.manifest import bare_manifest
from pamc_devices.runner.platforms import PLATFORMS, Platform, platform_of

__all__ = [
    "PLATFORMS",
    "PYTHON_RUNNER",
    "Platform",
    "bare_manifest",
    "build_runner",
    "fetch_android",
    "fetch_onnxruntime",
    "find_runner",
    "platform_of",
]
