"""What an exporter is. Exporters turn plans into files and open those files again; pamc finds them by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pamc.errors import ConfigError, InternalError
from pamc.registry import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamc.lower.plan import Plan

__all__ = ["GROUP", "Exporter", "Session", "Tracing", "exporters", "find_exporter"]

GROUP = "pamc.exporters"


class Session(Protocol):
    """A loaded network of one task set. ``outputs`` names its tasks in task order."""

    outputs: tuple[str, ...]

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Outputs by task for a batch ``x`` of shape ``(n, *input shape)``. ConfigError for another shape or dtype."""


@runtime_checkable
class Exporter(Protocol):
    """Writes plans to the files of one format and opens them."""

    name: str

    def write(self, plans: Mapping[str, Plan], directory: Path, metadata: Mapping[str, str]) -> tuple[Path, ...]:
        """Write one network per task set into ``directory``; return every file written.

        ``metadata`` goes into each network. The same plans give the same bytes.
        """

    def files(self, task_set: str) -> tuple[str, ...]:
        """Names of the files that a written task set needs: its own first, then those it shares with others."""

    def open(self, directory: Path, task_set: str, threads: int = 1) -> Session:
        """Open a task set that was written. Raises OutputError when its files are missing or damaged."""

    def compose(self, plan: Plan, directory: Path, threads: int = 1) -> Session:
        """Open a task set that was not written, over the weights that were. Raises OutputError when they disagree."""


@runtime_checkable
class Tracing(Protocol):
    """An exporter that can also show what happens inside a network that it wrote."""

    def trace(self, plan: Plan, directory: Path, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Every value of the written network for a batch ``x``, by the plan's value names, in order of execution."""


def _found() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def exporters() -> tuple[str, ...]:
    """Names of the installed exporters, in alphabetical order."""
    return tuple(_found())


def find_exporter(name: str) -> Exporter:
    """The installed exporter called ``name``.

    Raises ConfigError when there is none or it cannot be loaded, and InternalError when it is not an exporter.
    """
    found = _found()
    if name not in found:
        raise ConfigError(
            f"no exporter for format '{name}' is installed{did_you_mean(name, tuple(found))}",
            cure=f"use one of: {', '.join(found)}" if found else "install pamc again; it comes with 'onnx'",
        )
    try:
        exporter = found[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the exporter for format '{name}' cannot be loaded: {error}",
            where=found[name].value,
            cure="install the package that provides it again",
        ) from error
    if not isinstance(exporter, Exporter):
        raise InternalError(f"{found[name].value}, registered as exporter '{name}', is not an exporter")
    return exporter
