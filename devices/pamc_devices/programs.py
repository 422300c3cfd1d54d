"""Which runner, with which runtime, a device gets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from pamc.errors import DeviceError
from pamc_devices.deployment import Program
from pamc_devices.info import DeviceInfo
from pamc_devices.runner import PYTHON_RUNNER, fetch_onnxruntime, find_runner, platform_of
from pamc_devices.runner.fetch import LIBRARY
from pamc_devices.runner.platforms import GLIBC
from pamc_devices.states import MissingRuntimeError, WrongArchitectureError

__all__ = ["choose_program", "program_for"]

_PYTHON = (3, 9)
_RUNNER = "pamc-runner"
_PACKAGES = {"litert": ("ai-edge-litert", "tflite-runtime"), "onnxruntime": ("onnxruntime",)}
"""Python packages that serve a runtime; the first that is there is used."""

Say = Callable[[str], None]


def choose_program(info: DeviceInfo, runtimes: Sequence[str], say: Say = lambda text: None) -> Program:
    """The program for the first of ``runtimes`` (at least one) that the device can have.

    Raises the error for the first one where it can have none: see :func:`program_for`.
    """
    errors: list[DeviceError] = []
    for runtime in runtimes:
        try:
            return program_for(info, runtime, say)
        except (MissingRuntimeError, WrongArchitectureError) as error:
            errors.append(error)
    raise errors[0]


def program_for(info: DeviceInfo, runtime: str, say: Say = lambda text: None) -> Program:
    """The runner for ``onnxruntime`` or ``litert`` on a device, built or downloaded where it has to be.

    ONNX Runtime runs under the C runner, which needs nothing on the device; on this machine, and where no C runner can
    be had, under the Python runner. LiteRT runs under the Python runner. ``say`` is told what takes long.
    Raises WrongArchitectureError for a processor without a runner, MissingRuntimeError for what is not on the device
    or cannot be had here.
    """
    if runtime == "litert" or _is_here(info):
        return _in_python(info, runtime)
    try:
        return _in_c(info, say)
    except (MissingRuntimeError, WrongArchitectureError):
        if _lacking(info, runtime) is not None:
            raise
        return _in_python(info, runtime)


def _is_here(info: DeviceInfo) -> bool:
    return info.url.partition(":")[0] == "local"


def _in_c(info: DeviceInfo, say: Say) -> Program:
    platform = platform_of(info.abi, info.libc)
    if info.libc == "glibc" and info.libc_version and _numbers(info.libc_version) < _numbers(GLIBC):
        raise MissingRuntimeError(
            f"the device's C library is older than ONNX Runtime needs: glibc {info.libc_version}, should be {GLIBC}",
            where=info.url,
            cure="use a newer release of its system",
        )
    library = fetch_onnxruntime(platform, say)
    runner = find_runner(info.abi, info.libc, say)
    return Program("onnxruntime", {_RUNNER: runner, LIBRARY: library}, (f"program/{_RUNNER}",))


def _in_python(info: DeviceInfo, runtime: str) -> Program:
    lacking = None if _is_here(info) else _lacking(info, runtime)
    if lacking is not None:
        raise lacking
    python = sys.executable if _is_here(info) else "python3"
    name = PYTHON_RUNNER.name
    return Program(runtime, {name: PYTHON_RUNNER}, (python, f"program/{name}"), ("--runtime", runtime))


def _lacking(info: DeviceInfo, runtime: str) -> MissingRuntimeError | None:
    """What the device's Python lacks to run a runtime."""
    if info.python is None or _numbers(info.python) < _PYTHON:
        wanted = ".".join(map(str, _PYTHON))
        return MissingRuntimeError(
            f"the device has no Python {wanted} or later, in which {runtime} runs there",
            where=info.url,
            cure="use --runtime onnxruntime" if info.android else f"install python3, {wanted} or later, on the device",
        )
    names = _PACKAGES[runtime]
    packages = [name for name in ("numpy",) if name not in info.packages]
    if not any(name in info.packages for name in names):
        packages.append(names[0])
    if not packages:
        return None
    return MissingRuntimeError(
        f"the device's Python lacks {' and '.join(packages)}",
        where=info.url,
        cure=f"on the device: python3 -m pip install {' '.join(packages)}",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
