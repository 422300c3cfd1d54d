"""Measuring on several devices side by side, one thread for each, into one result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol as Interface

from pamc import __version__
from pamc.errors import DeviceError, PamcError
from pamc_bench.preflight import doubts_after, doubts_before, refuse_unstable
from pamc_bench.request import Request, bundle_entry, variants
from pamc_bench.results import Block, Conditions, DeviceEntry, Key, Memory, Protocol, Result, Variant
from pamc_bench.rounds import Measured, StopRequested, compared_pairs, measure_rounds

__all__ = ["Station", "Watcher", "emulated_protocol", "measure_fleet"]

POLL = 0.2  # seconds between two looks at whether somebody asked to stop


class Station(Interface):
    """A device with the bundles and a runner on it, ready to measure. Methods raise DeviceError."""

    def entry(self) -> DeviceEntry:
        """What the device is; without conditions and findings."""

    def conditions(self, seconds: float) -> Conditions:
        """The state that it is in now."""

    def cpus(self, cores: str) -> str | None:
        """The CPUs to bind processes to, as a list; None for all of them. ConfigError when there are none such."""

    def version(self, runtime: str) -> str:
        """The version of a runtime there."""

    def block(self, key: Key, protocol: Protocol, round: int, seconds: float) -> Block:
        """One block of a variant, begun ``seconds`` after the measurement."""

    def memory(self, key: Key) -> Memory:
        """The memory of a process that runs the variant a few times."""


class Watcher(Interface):
    """Hears what a measurement does, from several threads."""

    def plan(self, device: str, keys: Sequence[Key], protocol: Protocol, emulated: bool) -> None:
        """Measuring on a device begins; times of an ``emulated`` one are not to be shown."""

    def block(self, key: Key, block: Block) -> None:
        """A block is done."""

    def note(self, text: str) -> None:
        """One line worth reading."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one device contributes to the result; ``error`` is what ended it, before or while it measured."""

    entry: DeviceEntry | None
    variants: tuple[Variant, ...]
    complete: bool
    error: PamcError | None = None


class _Stop:
    """Whether somebody asked to stop; sleeping and asking raise StopRequested then."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        self._event.set()

    def check(self) -> None:
        if self._event.is_set():
            raise StopRequested

    def sleep(self, seconds: float) -> None:
        if self._event.wait(seconds):
            raise StopRequested


def emulated_protocol(protocol: Protocol) -> Protocol:
    """One short block: times of an emulator are worth nothing, that everything runs there is."""
    return replace(
        protocol,
        blocks=1,
        min_runs=3,
        min_seconds=0.0,
        warmup_runs=1,
        warmup_seconds=0.0,
        warmup_max_seconds=0.0,
        precision=None,
        quick=True,
    )


def _memory(station: Station, keys: Sequence[Key], stop: _Stop) -> dict[Key, Memory]:
    found = {}
    for key in keys:
        stop.check()
        found[key] = station.memory(key)
    return found


def _variant(
    station: Station, key: Key, measured: Measured, memory: Memory | None, doubts: Sequence[str] | None
) -> Variant:
    """``doubts`` are those from before; None where there are no times to doubt."""
    blocks = measured.blocks[key]
    found = () if doubts is None or not blocks else (*doubts, *doubts_after(blocks, measured.conditions))
    return Variant(key, station.version(key.runtime), blocks, memory=memory, unstable=found)


def _measure(station: Station, url: str, request: Request, stop: _Stop, watcher: Watcher) -> _Part:
    start = time.monotonic()

    def seconds() -> float:
        return time.monotonic() - start

    entry = station.entry()
    keys = variants(request, url, station.cpus(request.cores))
    protocol = emulated_protocol(request.protocol) if entry.emulated else request.protocol
    first = station.conditions(seconds())
    doubts = () if entry.emulated else doubts_before(first, entry.cpus)
    entry = replace(entry, conditions=(first,), findings=tuple(f"{doubt} ({doubt.cure})" for doubt in doubts))
    if not request.allow_unstable:
        refuse_unstable(doubts, url)
    watcher.plan(url, keys, protocol, entry.emulated)

    def run(key: Key, round: int) -> Block:
        stop.check()
        try:
            return station.block(key, protocol, round, seconds())
        except DeviceError:
            # Ctrl-C ends the runner of this machine as well: its broken answer is no failure of the device.
            stop.check()
            raise

    measured = measure_rounds(
        keys,
        run,
        lambda: station.conditions(seconds()),
        protocol,
        device=url,
        seed=request.seed,
        pairs=compared_pairs(keys, request.baseline),
        sleep=stop.sleep,
        on_block=watcher.block,
    )
    memory: dict[Key, Memory] = {}
    failure, complete = measured.failure, measured.complete
    # The memory of an emulated process is the emulator's.
    if complete and not entry.emulated:
        try:
            memory = _memory(station, keys, stop)
        except StopRequested:
            complete = False
        except DeviceError as error:
            failure, complete = error, False
    entry = replace(entry, conditions=measured.conditions or entry.conditions, failure=_text(failure))
    texts = None if entry.emulated else [str(doubt) for doubt in doubts]
    found = tuple(_variant(station, key, measured, memory.get(key), texts) for key in keys)
    return _Part(entry, found, complete, failure)


def _text(error: PamcError | None) -> str | None:
    return None if error is None else " ".join(str(error).split())


def _part(
    open_station: Callable[[str, Request], AbstractContextManager[Station]],
    url: str,
    request: Request,
    stop: _Stop,
    watcher: Watcher,
) -> _Part:
    try:
        with open_station(url, request) as station:
            return _measure(station, url, request, stop, watcher)
    except StopRequested:
        return _Part(None, (), False)
    except PamcError as error:
        # A wrong answer or cores that one device lacks do not end the others either.
        return _Part(None, (), False, error)


def _wait(futures: Sequence[Future[_Part]], stop: _Stop, watcher: Watcher) -> None:
    """Wait for all parts. Ctrl-C asks the devices to stop and waits for their present blocks."""
    waiting = set(futures)
    try:
        while waiting:
            _, waiting = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
    except KeyboardInterrupt:
        stop.ask()
        watcher.note("stopping after the blocks that run now")
        wait(waiting)


def measure_fleet(
    urls: Sequence[str],
    request: Request,
    open_station: Callable[[str, Request], AbstractContextManager[Station]],
    watcher: Watcher,
    *,
    command: Sequence[str],
) -> Result:
    """Measure ``request`` on every device at once. ``command`` is what the result says was called.

    A device that fails does not end the others: its error is in the result, which is then not complete, and so is it
    after Ctrl-C. Raises the first device's error when nothing at all was measured.
    """
    stop = _Stop()
    bundles = {name: bundle_entry(b, request.task_sets, request.runtimes) for name, b in request.bundles.items()}
    with ThreadPoolExecutor(max_workers=len(urls)) as pool:
        futures = [pool.submit(_part, open_station, url, request, stop, watcher) for url in urls]
        _wait(futures, stop, watcher)
    parts: Mapping[str, _Part] = {url: future.result() for url, future in zip(urls, futures, strict=True)}
    measured = {url: part for url, part in parts.items() if part.entry is not None}
    errors = [part.error for part in parts.values() if part.error is not None]
    if not any(variant.blocks for part in parts.values() for variant in part.variants):
        raise errors[0] if errors else KeyboardInterrupt
    for url, part in parts.items():
        if part.error is not None:
            watcher.note(f"{url}: {_text(part.error)}")
    return Result(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pamc=__version__,
        command=tuple(command),
        seed=request.seed,
        complete=all(part.complete for part in parts.values()),
        protocol=request.protocol,
        bundles=bundles,
        devices={url: part.entry for url, part in measured.items() if part.entry is not None},
        variants=tuple(variant for part in measured.values() for variant in part.variants),
        baseline=request.baseline,
    )
