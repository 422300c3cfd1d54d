"""The runner for a device, built when it is first asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pamc_devices.folders import content_key, made_once
from pamc_devices.runner.compile import PROGRAM, build_runner, find_compiler, sources
from pamc_devices.runner.platforms import GLIBC, platform_of

__all__ = ["PYTHON_RUNNER", "find_runner"]

PYTHON_RUNNER = Path(__file__).resolve().with_name("pamc_run.py")
"""The same commands in one Python file of its own, for LiteRT and for machines without a C runner."""


def _sources_key() -> str:
    root = sources()
    listed = sorted(path for path in root.rglob("*") if path.is_file())
    return content_key(
        *([path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()] for path in listed)
    )


def find_runner(abi: str | None, libc: str | None, say: Callable[[str], None] = lambda text: None) -> Path:
    """pamc-runner for devices of ``abi`` and ``libc``, from pamc's cache; the first time it is built, in some seconds.

    ``say`` is told before that. Raises WrongArchitectureError for a device without a runner and MissingRuntimeError
    without a compiler.
    """
    platform = platform_of(abi, libc)
    compiler = find_compiler(platform)

    def make(folder: Path) -> None:
        say(f"building the runner for {platform.name} with {compiler.name}: once, some seconds")
        build_runner(platform, folder, compiler)

    return made_once("runner", platform.name, content_key(_sources_key(), compiler.name, GLIBC), make) / PROGRAM
