"""The story of a comparison: files are written, judged, and only those that compute what they should are timed.

Everything measured is kept under a digest of the files that it was measured of, so that an interrupted run goes on
where it was, and files that did not change are not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from benchmarks.suites.paper.jobs import Job
from benchmarks.suites.paper.setups import Suite
from benchmarks.suites.peers import measuring
from benchmarks.suites.peers.counting import FORMAT, counted, runner_key
from benchmarks.suites.peers.formats import PACKAGES, runtime_of
from benchmarks.suites.peers.measuring import TIMING, Protocol, kept, key_of
from benchmarks.suites.peers.networks import Comparison, Networks, networks, origin
from benchmarks.suites.peers.programs import BOARD_TARGET, Written, write
from benchmarks.suites.peers.results import SCHEMA, figures, times
from benchmarks.suites.peers.rows import Row
from pamc.bundle.digest import digest
from pamc_bench.environment import describe_machine, load_average

__all__ = ["Campaign", "results"]


@dataclass(frozen=True)
class Campaign:
    """The rows of a comparison in some formats. ``folder`` takes their files, ``boards`` count instructions."""

    comparison: Comparison
    rows: tuple[Row, ...]
    formats: tuple[str, ...]
    boards: tuple[str, ...]
    protocol: Protocol
    folder: Path

    @cached_property
    def networks(self) -> Mapping[str, Networks | str]:
        """The networks of every row, or why there are none."""
        return {row.name: networks(self.comparison, row) for row in self.rows}

    @cached_property
    def written(self) -> tuple[Written, ...]:
        """The files of every row that has networks, format by format."""
        found = []
        for format in self.formats:
            for row in self.rows:
                nets = self.networks[row.name]
                if not isinstance(nets, str):
                    print(f"{row.label}: writing {format}", flush=True)
                    found.append(write(row, nets, self.folder / format / row.name, format))
        return tuple(found)

    @cached_property
    def boarded(self) -> Mapping[str, Written]:
        """What boards count, by row: the files that a build for them has."""
        nets = {row: nets for row in self.rows if not isinstance(nets := self.networks[row.name], str)}
        return {
            row.name: write(row, held, self.folder / BOARD_TARGET / row.name, FORMAT, BOARD_TARGET)
            for row, held in nets.items()
        }

    @cached_property
    def runner(self) -> str:
        """What the counts of instructions depend on besides the files."""
        return runner_key()

    def judging(self) -> list[Job]:
        """What is to be found out about every row by itself."""
        jobs = []
        for written in self.written:
            name = f"{written.row}, {written.format}"
            (row,) = (row for row in self.rows if row.name == written.row)
            accuracy = partial(measuring.answered, written, self.comparison, row)
            memory = partial(measuring.resident, written, self.comparison)
            todo = {
                "accuracy": (self._place(written, "accuracy"), accuracy),
                "resident": (self._place(written, "resident"), memory),
            }
            if written.format == FORMAT:
                todo |= {f"instructions {board}": self._counting(row, board) for board in self.boards}
            jobs += [
                Job(f"{name}, {what}", partial(kept, place, make))
                for what, (place, make) in todo.items()
                if not place.exists()
            ]
        return jobs

    def timing(self) -> list[Job]:
        """The blocks of every format that are not there yet."""
        return [
            Job(
                f"{format}, block {number + 1} of {self.protocol.blocks}",
                partial(
                    kept,
                    self._block(format, number),
                    partial(measuring.block, self._judged(format), self.comparison, self.protocol, number),
                ),
            )
            for format in self.formats
            for number in range(self.protocol.blocks)
            if self._judged(format) and not self._block(format, number).exists()
        ]

    def figures(self) -> list[dict[str, Any]]:
        """The figures of all rows that were judged."""
        found = []
        for format in self.formats:
            for written in self._judged(format).values():
                counts = {
                    board: held
                    for board in (self.boards if written.format == FORMAT else ())
                    if (held := self._read(self._counts(written.row, board))) is not None
                }
                accuracy, memory = (self._read(self._place(written, what)) for what in ("accuracy", "resident"))
                assert accuracy is not None and memory is not None
                found += figures(written, accuracy, memory, counts)
        return found

    def times(self) -> list[dict[str, Any]]:
        """The times of all formats whose blocks are finished."""
        found = []
        for format in self.formats:
            blocks = [self._read(self._block(format, number)) for number in range(self.protocol.blocks)]
            done = [block for block in blocks if block is not None]
            if done and len(done) == len(blocks):
                found += times(done, runtime_of(format))
        return found

    def missing(self, row: Row) -> str | None:
        """Why a row has no figures in some format, or None."""
        nets = self.networks[row.name]
        if isinstance(nets, str):
            return nets
        lacking = [format for format in self.formats if row.name not in self._judged(format)]
        return f"its {', '.join(lacking)} files could not be measured" if lacking else None

    def _judged(self, format: str) -> dict[str, Written]:
        """Rows by name whose files in this format compute what they should, and whose memory is known."""
        return {
            written.row: written
            for written in self.written
            if written.format == format
            and all(self._place(written, what).exists() for what in ("accuracy", "resident"))
        }

    @property
    def _kept(self) -> Path:
        return self.comparison.store.root / "peers"

    def _place(self, written: Written, what: str) -> Path:
        data = digest(self.comparison.setup.networks, self.comparison.seed)
        return self._kept / "measured" / digest(key_of(written), data) / f"{what}.json"

    def _counting(self, row: Row, board: str) -> tuple[Path, Callable[[], dict[str, Any]]]:
        count = partial(counted, self.boarded[row.name], board, self.comparison.shape)
        return self._counts(row.name, board), count

    def _counts(self, row: str, board: str) -> Path:
        return self._kept / "counted" / digest(key_of(self.boarded[row]), self.runner) / f"{board}.json"

    def _block(self, format: str, number: int) -> Path:
        rows = [key_of(written) for written in self._judged(format).values()]
        return self._kept / "blocks" / digest(TIMING, rows, self.protocol) / f"{number}.json"

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        return found


def results(campaign: Campaign, suite: Suite, scale: str, command: str) -> bytes | None:
    """The results file, or None when nothing was timed."""
    timed = campaign.times()
    if not timed:
        return None
    comparison = campaign.comparison
    runtimes = {item["runtime"] for item in timed}
    packages = [PACKAGES[format] for format in campaign.formats]
    held = {
        "kind": "peers",
        "schema": SCHEMA,
        "suite": suite.name,
        "title": suite.title,
        "scale": scale,
        "seed": comparison.seed,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_machine((*packages, "torch", "torch-pruning")),
        "load_after": load_average(),
        "protocol": {**asdict(campaign.protocol), "threads": 1, "clock": "CPU time of the thread"},
        "setup": asdict(comparison.setup),
        "search": asdict(comparison.search),
        "tasks": list(comparison.tasks),
        "rows": [
            {**asdict(row), "missing": campaign.missing(row), "origin": origin(comparison, row)}
            for row in campaign.rows
        ],
        "figures": [item for item in campaign.figures() if item["runtime"] in runtimes],
        "times": timed,
    }
    return (json.dumps(held, indent=1) + "\n").encode()
