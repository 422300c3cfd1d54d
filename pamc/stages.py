"""Cached stages: each is keyed by the content of what it reads, so a killed build resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from pamc.bundle.cache import StageCache
from pamc.bundle.digest import code_version, digest
from pamc.errors import OutputError
from pamc.graph import MultitaskGraph, verify_multitask
from pamc.graph.serial import dump, load
from pamc.progress import Progress, QuietProgress
from pamc.prune.state import State

__all__ = ["StageRunner"]

STRUCTURE, ARRAYS, MEMORY = "multitask.json", "multitask.safetensors", "memory.safetensors"


@dataclass
class StageRunner:
    """Runs stages that yield a network, and remembers how long each took (0 when it came from the cache).

    ``force`` uses nothing from the cache, ``keep=False`` leaves nothing there.
    """

    cache: StageCache
    progress: Progress
    force: bool = False
    keep: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    _told: bool = field(default=False, init=False)

    def __getstate__(self) -> Mapping[str, object]:
        """In another process it has nobody to tell until it is given somebody."""
        return {**vars(self), "progress": QuietProgress()}

    def key(self, *parts: object) -> str:
        """The identity of a stage's result: pamc's own code and everything given."""
        return digest(code_version(), *parts)

    def holds(self, stage: str, key: str) -> bool:
        """Whether the cache has the network of a stage."""
        return not self.force and self._get(stage, key) is not None

    def run(self, stage: str, key: str, make: Callable[[], MultitaskGraph], *, title: str = "") -> MultitaskGraph:
        """The network of a stage, from the cache or made and kept."""
        started = time.monotonic()
        with self._lock(stage, key):
            held = None if self.force else self._get(stage, key)
            if held is not None:
                self.progress.note(f"{title or stage}: cached")
                self.seconds[title or stage] = 0.0
                return held.net
            with self.progress.stage(title or stage):
                made = verify_multitask(make(), title or stage)
                self._put(stage, key, State(made))
        self.seconds[title or stage] = round(time.monotonic() - started, 3)
        return made

    @contextmanager
    def timed(self, title: str) -> Iterator[None]:
        """A stage that is never cached."""
        started = time.monotonic()
        with self.progress.stage(title):
            yield
        self.seconds[title] = round(time.monotonic() - started, 3)

    def checkpoints(self, stage: str, key: str) -> Checkpoints:
        """Intermediate results of one stage."""
        return Checkpoints(self, f"{stage}-steps", key)

    def _get(self, stage: str, key: str) -> State | None:
        files = self.cache.get(stage, key)
        if files is None:
            return None
        try:
            memory = load_safetensors(files[MEMORY]) if MEMORY in files else {}
            return State(load(files[STRUCTURE].decode(), files[ARRAYS]), memory)
        except (KeyError, UnicodeDecodeError, SafetensorError, OutputError):
            return None

    def _lock(self, stage: str, key: str) -> AbstractContextManager[None]:
        if not self.keep:
            return nullcontext()
        return self.cache.lock(stage, key, lambda: self.progress.note(f"{stage}: waiting for another build"))

    def _put(self, stage: str, key: str, state: State) -> None:
        if not self.keep:
            return
        structure, arrays = dump(state.net)
        files = {STRUCTURE: structure.encode(), ARRAYS: arrays}
        if state.memory:
            # safetensors writes the buffer as it lies, whatever its strides.
            files[MEMORY] = save_safetensors({name: np.ascontiguousarray(rows) for name, rows in state.memory.items()})
        if not self.cache.put(stage, key, files) and not self._told:
            self._told = True
            self.progress.note(f"the cache folder {self.cache.root} cannot be written; the next build starts anew")


@dataclass(frozen=True)
class Checkpoints:
    """Named intermediate states of one stage run."""

    runner: StageRunner
    stage: str
    key: str

    def get(self, name: str) -> State | None:
        """The state kept under ``name``, if any."""
        return None if self.runner.force else self.runner._get(self.stage, f"{self.key}-{name}")

    def put(self, name: str, state: State) -> None:
        """Keep a state."""
        self.runner._put(self.stage, f"{self.key}-{name}", state)
