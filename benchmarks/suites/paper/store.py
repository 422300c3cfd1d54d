"""Where trained networks and finished cells lie: each under a digest of everything that it depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.suites.paper.rows import ROWS, Row
from benchmarks.suites.paper.setups import Networks, Setup
from pamc.bundle.cache import cache_root
from pamc.bundle.digest import digest
from pamc.graph import MultitaskGraph
from pamc.graph.serial import dump, load

__all__ = ["VERSION", "Store"]

VERSION = 7
"""Raise it when the code of a suite, or of pamc, changes what comes out: kept results are then not used."""

TRAINED = 1
"""Raise it when the training of single-task networks changes."""

RESULT, STRUCTURE, ARRAYS = "result.json", "multitask.json", "multitask.safetensors"


@dataclass(frozen=True)
class Store:
    """Files under ``root``; a cell counts as finished once its result is there, which is written last."""

    root: Path

    @classmethod
    def default(cls) -> Store:
        """In pamc's cache folder."""
        return cls(cache_root() / "suites")

    def weights(self, networks: Networks, seed: int, task: str) -> Path:
        """The weights of a single-task network."""
        return self.root / "weights" / f"{digest(TRAINED, networks, seed, task)}.safetensors"

    def cell(self, setup: Setup, row: Row, pruner: str, seed: int) -> Path:
        """The folder of a cell."""
        return self.root / "cells" / self._key(setup, row, pruner, seed)

    def alone(self, setup: Setup, method: str, options: object, seed: int) -> Path:
        """The folder of the networks pruned one by one, which rows have in common: a folder for each inside."""
        return self.root / "alone" / digest(VERSION, replace(setup, pruners={}, merges={}), method, options, seed)

    def result(self, cell: Path) -> dict[str, Any] | None:
        """What a finished cell found, or None."""
        try:
            found: dict[str, Any] = json.loads((cell / RESULT).read_text())
        except (OSError, ValueError):
            return None
        return found

    def network(self, cell: Path) -> MultitaskGraph:
        """The network that a finished cell ended with."""
        return load((cell / STRUCTURE).read_text(), (cell / ARRAYS).read_bytes())

    def keep(self, cell: Path, result: Mapping[str, object], net: MultitaskGraph | None) -> None:
        """Finish a cell."""
        cell.mkdir(parents=True, exist_ok=True)
        if net is not None:
            structure, arrays = dump(net)
            write(cell / STRUCTURE, structure.encode())
            write(cell / ARRAYS, arrays)
        write(cell / RESULT, (json.dumps(result, indent=1) + "\n").encode())

    def drop(self, cell: Path) -> None:
        """Forget a cell."""
        (cell / RESULT).unlink(missing_ok=True)

    def _key(self, setup: Setup, row: Row, pruner: str, seed: int) -> str:
        needs = self._key(setup, ROWS[row.needs], pruner, seed) if row.needs else ""
        does = (row.kind, row.merge, dict(row.options), row.prune or "", *([row.version] if row.version else []))
        # Options of other methods change nothing here.
        own = replace(
            setup,
            pruners={name: setup.pruners[name] for name in {row.prune or pruner} & set(setup.pruners)},
            merges={name: setup.merges[name] for name in {row.merge} & set(setup.merges)},
        )
        return digest(VERSION, own, does, pruner, seed, needs)


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
