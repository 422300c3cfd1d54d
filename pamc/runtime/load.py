"""A bundle as something to call. Neither PyTorch nor ONNX is needed for the task sets that were emitted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from pamc.bundle.read import Bundle, open_bundle
from pamc.errors import ConfigError
from pamc.export import Exporter, MemorySharing, Session, find_exporter
from pamc.registry import did_you_mean
from pamc.task_sets import task_set_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Runtime", "load"]

MEMORY = ("fast", "shared")


class Runtime:
    """An opened bundle. Sessions are made when a task set is first asked for; the ``keep`` last used are kept."""

    def __init__(self, bundle: Bundle, exporter: Exporter, *, threads: int, keep: int) -> None:
        self.bundle = bundle
        self._exporter = exporter
        self._directory = bundle.directory(exporter.name)
        self._threads = threads
        self._keep = keep
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = Lock()

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in task order."""
        return self.bundle.manifest.task_names

    @property
    def task_sets(self) -> tuple[str, ...]:
        """The task sets that were emitted. Any other is composed when it is first asked for."""
        return tuple(text for text, entry in self.bundle.manifest.task_sets.items() if entry.emitted)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The task sets in memory, the last used one at the end."""
        return tuple(self._sessions)

    def _task_set(self, tasks: Sequence[str] | None) -> str:
        if tasks is None:
            return task_set_text(self.tasks)
        names = tasks.split("+") if isinstance(tasks, str) else list(tasks)
        known = f"the bundle has: {', '.join(self.tasks)}"
        if not names:
            raise ConfigError("no task was asked for", cure=known)
        for name in names:
            if name not in self.tasks:
                raise ConfigError(f"unknown task '{name}'{did_you_mean(str(name), self.tasks)}", cure=known)
        return task_set_text(name for name in self.tasks if name in names)

    def _make(self, task_set: str) -> Session:
        if task_set in self.task_sets:
            return self._exporter.open(self._directory, task_set, self._threads)
        from pamc.bundle.plans import plans_of

        plan = plans_of(self.bundle, task_set)[task_set]
        return self._exporter.compose(plan, self._directory, self._threads)

    def session(self, tasks: Sequence[str] | None = None) -> Session:
        """The session of a task set, loaded or composed if it is not in memory.

        Raises ConfigError for unknown tasks and OutputError for damaged files.
        """
        task_set = self._task_set(tasks)
        with self._lock:
            found = self._sessions.get(task_set)
            if found is None:
                found = self._make(task_set)
                self._sessions[task_set] = found
                while len(self._sessions) > self._keep:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end(task_set)
        return found

    def run(self, x: NDArray[np.generic], tasks: Sequence[str] | None = None) -> dict[str, NDArray[np.float32]]:
        """Outputs of ``tasks`` (default: all) by name, in task order.

        ``x`` has the input's shape, or a batch axis before it; so have the outputs. Order and repetition of ``tasks``
        do not matter, and ``"a+b"`` is as good as ``["a", "b"]``. Raises ConfigError for unknown tasks and for
        another shape or dtype, OutputError for damaged files.
        """
        session = self.session(tasks)
        alone = isinstance(x, np.ndarray) and x.ndim == len(self.bundle.manifest.input.shape)
        outputs = session.run(x[None] if alone else x)
        return {task: outputs[task][0] if alone else outputs[task] for task in session.outputs}


def load(
    path: Path | str, *, format: str | None = None, threads: int = 1, keep: int = 4, memory: str = "fast"
) -> Runtime:
    """Open the bundle at ``path`` for running, by the networks of one ``format`` (default: the first that it has).

    ``threads`` is the number of threads of one inference, ``keep`` the number of task sets held in memory. With
    ``memory="shared"`` they hold one copy of the weights between them; ``"fast"`` gives each what makes it fastest.
    Raises OutputError for a missing or damaged bundle, and ConfigError for a format that is not installed, not emitted
    or cannot share memory, and for numbers below one.
    """
    if threads < 1 or keep < 1:
        raise ConfigError(f"threads and keep must be at least 1, not {threads} and {keep}")
    if memory not in MEMORY:
        raise ConfigError(f"memory is one of {', '.join(MEMORY)}, not '{memory}'")
    bundle = open_bundle(path)
    format = bundle.formats[0] if format is None and bundle.formats else format or "onnx"
    exporter = find_exporter(format)
    if format not in bundle.formats:
        raise ConfigError(
            f"the bundle holds no networks in the format '{format}'", cure=f"use one of: {', '.join(bundle.formats)}"
        )
    if memory == "shared":
        if not isinstance(exporter, MemorySharing):
            raise ConfigError(f"networks in the format '{format}' cannot share memory", cure="use memory='fast'")
        exporter = exporter.sharing_memory()
    return Runtime(bundle, exporter, threads=threads, keep=keep)
