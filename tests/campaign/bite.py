"""``python -m tests.campaign.bite``: faults that verification must find, and sound builds that it must let pass."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import click

from pamc.lower.numerics import KINDS
from tests.campaign.planting import CHANGE, Verdict, clean_alarm, plant

__all__ = ["Tally", "tally"]

FORMATS = ("onnx", "tflite")
COMBINATIONS = [(format, kind) for format in FORMATS for kind in KINDS]
LEAST_CAUGHT = 0.999
AHEAD = 64


class Tally:
    """Verdicts of one format and kind of numbers, by fault."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.planted: Counter[str] = Counter()
        self.caught: Counter[str] = Counter()
        self.idle: Counter[str] = Counter()
        self.missed: list[tuple[int, Verdict]] = []

    def add(self, number: int, verdict: Verdict) -> None:
        """Count a fault: without effect and unseen, caught, or missed. One that is seen is caught, effect or not."""
        if verdict.alarm is not None:
            self.planted[verdict.fault] += 1
            self.caught[verdict.fault] += 1
        elif verdict.effect <= CHANGE[self.kind]:
            self.idle[verdict.fault] += 1
        else:
            self.planted[verdict.fault] += 1
            self.missed.append((number, verdict))


def _first(task: partial[object]) -> object:
    import torch

    torch.set_num_threads(1)
    return task()


def _results(pool: ProcessPoolExecutor, tasks: Iterable[partial[object]]) -> Iterator[object]:
    """Results in the order of the tasks, a few of which are always under way."""
    waiting = []
    for task in tasks:
        waiting.append(pool.submit(_first, task))
        if len(waiting) >= AHEAD:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def tally(pool: ProcessPoolExecutor, format: str, kind: str, first: int, faults: int) -> Tally:
    """Plant faults from seed ``first`` on until ``faults`` that change the function were planted."""
    found, number = Tally(kind), first
    while (left := faults - found.planted.total()) > 0:
        numbers = range(number, number + max(left, 8))
        number = numbers.stop
        for seed, verdict in zip(
            numbers, _results(pool, (partial(plant, seed, format, kind) for seed in numbers)), strict=True
        ):
            if isinstance(verdict, Verdict):
                found.add(seed, verdict)
    return found


def _told(found: dict[tuple[str, str], Tally], alarms: dict[tuple[str, str], dict[int, str]], clean: int) -> list[str]:
    lines = []
    for (format, kind), one in found.items():
        refused = alarms[format, kind]
        lines += [
            f"{format} {kind}: {one.caught.total():,} of {one.planted.total():,} faults caught, "
            f"{one.idle.total():,} more change nothing; {len(refused)} of {clean:,} sound builds refused"
        ]
        lines += [
            f"  missed, seed {seed}: {verdict.fault}, effect {verdict.effect:.2g}" for seed, verdict in one.missed
        ]
        lines += [f"  refused, seed {seed}: {words}" for seed, words in refused.items()]
    lines += ["", "faults: caught of planted, and without effect"]
    for fault in dict.fromkeys(fault for one in found.values() for fault in (*one.planted, *one.idle)):
        counts = [sum(getattr(one, name)[fault] for one in found.values()) for name in ("caught", "planted", "idle")]
        lines += [f"  {fault}: {counts[0]:,} of {counts[1]:,}, {counts[2]:,}"]
    return lines


@click.command()
@click.option("--faults", default=1000, show_default=True, help="in all formats and kinds of numbers together")
@click.option("--clean", default=1000, show_default=True, help="sound builds, in all together")
@click.option("--first", default=0, show_default=True, help="seed of the first build")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True)
def main(faults: int, clean: int, first: int, jobs: int) -> None:
    """Plant faults and verify. Exit status 1 below 99.9 % caught, or when a sound build is refused."""
    each, sound = -(-faults // len(COMBINATIONS)), -(-clean // len(COMBINATIONS))
    found, alarms = {}, {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for format, kind in COMBINATIONS:
            found[format, kind] = tally(pool, format, kind, first, each)
            seeds = range(first, first + sound)
            words = _results(pool, (partial(clean_alarm, seed, format, kind) for seed in seeds))
            alarms[format, kind] = {seed: str(said) for seed, said in zip(seeds, words, strict=True) if said}
            click.echo(f"{format} {kind} done", err=True)
    click.echo("\n".join(_told(found, alarms, sound)))
    planted, caught = (sum(getattr(one, name).total() for one in found.values()) for name in ("planted", "caught"))
    refused = sum(map(len, alarms.values()))
    click.echo(f"\n{caught:,} of {planted:,} caught ({100 * caught / planted:.2f} %), {refused} sound builds refused")
    sys.exit(caught < LEAST_CAUGHT * planted or refused > 0)


if __name__ == "__main__":
    main()
