"""What an exporter is. Exporters turn plans into files and open those files again; pamc finds them by entry point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pamc.errors import ConfigError, InternalError
from pamc.registry import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamc.lower.plan import Plan

__all__ = [
    "GROUP",
    "Exporter",
    "MemorySharing",
    "Session",
    "Slicing",
    "Tracing",
    "Variants",
    "exporters",
    "find_exporter",
]

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

    def parse_options(self, values: Mapping[str, object]) -> object:
        """The options of this format from plain values, as a frozen dataclass.

        Raises ConfigError with one problem, whose ``where`` is the key, for each unknown key and wrong value.
        """

    def write(
        self,
        plans: Mapping[str, Plan],
        directory: Path,
        metadata: Mapping[str, str],
        options: Mapping[str, object] = {},
    ) -> tuple[Path, ...]:
        """Write one network per task set into ``directory``; return every file written.

        ``metadata`` goes into each network, ``options`` are those that ``parse_options`` takes. The same plans and
        options give the same bytes.
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


@runtime_checkable
class Slicing(Protocol):
    """An exporter that can take task sets out of what it wrote."""

    def slice(self, source: Path, task_sets: Sequence[str], target: Path) -> tuple[Path, ...]:
        """Write just what ``task_sets``, written to ``source``, need into the empty folder ``target``.

        Returns every file written. Their networks compute the same, to the bit. Raises OutputError when files of
        ``source`` are missing or damaged.
        """


@runtime_checkable
class MemorySharing(Protocol):
    """An exporter whose sessions of several task sets can keep one copy of the weights between them."""

    def sharing_memory(self) -> Exporter:
        """The same exporter with sessions that share the weights, which can make each inference slower."""


@runtime_checkable
class Variants(Protocol):
    """An exporter that may write a task set in further forms, which compute the same and are verified as well."""

    def variants(
        self, directory: Path, task_sets: Sequence[str], threads: int = 1
    ) -> Iterator[tuple[str, str, Session]]:
        """Open every further form of written task sets: the name of its file, the task set, a session.

        Raises OutputError when one is damaged.
        """


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
