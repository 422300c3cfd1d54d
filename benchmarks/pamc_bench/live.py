"""A measurement while it runs: a table that grows on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pamc_bench.results import Block, Key, Protocol
from pamc_bench.stats import block_interval
from pamc_bench.table import key_text, plain_text

__all__ = ["LineWatcher", "LiveWatcher", "SilentWatcher"]

NS_PER_MS = 1e6
SHOWN = 30  # variants that a live table has room for


@dataclass(slots=True)
class _Progress:
    """The medians so far, in ms, of the variants of all devices, and how many blocks each will have at least."""

    medians: dict[Key, list[float]] = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)
    emulated: set[str] = field(default_factory=set)

    def plan(self, device: str, keys: Sequence[Key], protocol: Protocol) -> None:
        self.medians.update({key: [] for key in keys})
        self.wanted[device] = protocol.blocks

    def add(self, key: Key, block: Block) -> None:
        self.medians[key].append(median(block.ns) / NS_PER_MS)


class SilentWatcher:
    """Says nothing."""

    def plan(self, device: str, keys: Sequence[Key], protocol: Protocol, emulated: bool) -> None:
        return None

    def block(self, key: Key, block: Block) -> None:
        return None

    def note(self, text: str) -> None:
        return None


class LineWatcher:
    """Lines without control characters: one when a device begins, one now and then with the blocks done."""

    def __init__(self, stream: TextIO, *, interval: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._progress = _Progress()
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def plan(self, device: str, keys: Sequence[Key], protocol: Protocol, emulated: bool) -> None:
        with self._lock:
            self._progress.plan(device, keys, protocol)
            self._next[device] = self._clock() + self._interval
            words = "emulated: no latencies" if emulated else f"{protocol.blocks} blocks each"
            self._say(f"{device}: {len(keys)} variants, {words}")

    def block(self, key: Key, block: Block) -> None:
        with self._lock:
            self._progress.add(key, block)
            if self._clock() >= self._next[key.device]:
                self._next[key.device] = self._clock() + self._interval
                mine = [found for name, found in self._progress.medians.items() if name.device == key.device]
                done, least = sum(map(len, mine)), len(mine) * self._progress.wanted[key.device]
                self._say(f"  {key.device}: {done} of {'at least ' if done > least else ''}{max(done, least)} blocks")

    def note(self, text: str) -> None:
        with self._lock:
            self._say(text)

    def _say(self, text: str) -> None:
        self._stream.write(plain_text(text).plain + "\n")
        self._stream.flush()


class LiveWatcher:
    """A table of all variants on a terminal, which goes away at the end: the result's own table comes then."""

    def __init__(self, console: Console) -> None:
        self._progress = _Progress()
        self._lock = threading.Lock()
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=True)

    @contextmanager
    def shown(self) -> Iterator[LiveWatcher]:
        """Shows the table inside of the block."""
        with self._live:
            yield self

    def plan(self, device: str, keys: Sequence[Key], protocol: Protocol, emulated: bool) -> None:
        with self._lock:
            self._progress.plan(device, keys, protocol)
            if emulated:
                self._progress.emulated.add(device)

    def block(self, key: Key, block: Block) -> None:
        with self._lock:
            self._progress.add(key, block)

    def note(self, text: str) -> None:
        self._live.console.print(plain_text(text))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for head in ("device", "variant", "blocks", "p50 ms", "95 % interval"):
            table.add_column(head, justify="left" if head in ("device", "variant") else "right")
        with self._lock:
            rows = [self._row(key, found) for key, found in self._progress.medians.items()]
        for row in rows[:SHOWN]:
            table.add_row(*row)
        if len(rows) > SHOWN:
            table.add_row("", f"and {len(rows) - SHOWN} more")
        return table

    def _row(self, key: Key, found: list[float]) -> tuple[Text, ...]:
        cells = [key.device, key_text(key, bundle=True), f"{len(found)}/{self._progress.wanted[key.device]}"]
        if key.device in self._progress.emulated:
            cells += ["emulated", ""]
        elif found:
            interval = block_interval(found, resamples=200)
            cells += [f"{interval.value:.4f}", f"{interval.low:.4f} – {interval.high:.4f}"]
        return tuple(map(plain_text, cells))
