"""What a device gets: the files of a row in one format, and which of them run for a task set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.suites.peers.formats import exporter_of, runtime_of
from benchmarks.suites.peers.networks import Networks
from benchmarks.suites.peers.rows import Row
from pamc.export import Exporter, Session, Slicing
from pamc.graph import all_task_sets
from pamc.lower import Plan, load_target, lower
from pamc.task_sets import all_task_sets as named_sets

__all__ = ["BOARD_TARGET", "TARGET", "Program", "Written", "open_parts", "write"]

TARGET = "x86_64"
BOARD_TARGET = "arm64"


@dataclass(frozen=True, slots=True)
class Program:
    """What runs for one task set: ``parts``, each a folder and the task set of a file in it, one after another.

    ``macs`` are those that the networks need, ``computed_macs`` those that run; ``bytes`` are those of the files, had
    the device only this task set.
    """

    parts: tuple[tuple[Path, str], ...]
    macs: int
    computed_macs: int
    params: int
    bytes: int


@dataclass(frozen=True)
class Written:
    """The files of a row in one format: programs by task set, and the ``bytes`` of all files together."""

    row: str
    format: str
    folder: Path
    programs: Mapping[str, Program]
    bytes: int


def write(row: Row, nets: Networks, folder: Path, format: str, kind: str = TARGET) -> Written:
    """Write the networks of a row into the new folder, as its packing says, for a ``kind`` of device."""
    exporter = exporter_of(format)
    folder.mkdir(parents=True)
    tasks = tuple(task for name in nets for task in name.split("+"))
    made: dict[str, Program] = {}
    for name, net in nets.items():
        target = load_target(kind, runtime_of(format))
        requests = list(all_task_sets(len(net.tasks))) if row.packing == "sets" else [net.everyone]
        # Running groups as one is pamc's own doing; the others' files are as an ordinary exporter writes them.
        plans = lower(net, requests, target if row.packing == "sets" else replace(target, costs=None))
        # As in a bundle, which is what a runner on a device opens.
        place = folder / name / format
        place.mkdir(parents=True)
        exporter.write({plan.task_set: plan for plan in plans.values()}, place, {})
        made |= {plan.task_set: _program(plan, place, exporter) for plan in plans.values()}
    if row.packing == "apart":
        made |= {name: _together([made[task] for task in name.split("+")]) for name in named_sets(tasks)}
    if row.packing == "whole":
        made = dict.fromkeys(named_sets(tasks), made["+".join(tasks)])
    programs = {name: made[name] for name in named_sets(tasks)}
    return Written(row.name, format, folder, programs, _bytes(folder))


def open_parts(written: Written, task_set: str) -> list[Session]:
    """Sessions of the files that run for a task set, with one thread each."""
    exporter = exporter_of(written.format)
    return [exporter.open(folder, name, 1) for folder, name in written.programs[task_set].parts]


def _program(plan: Plan, place: Path, exporter: Exporter) -> Program:
    if isinstance(exporter, Slicing):
        with TemporaryDirectory(prefix="pamc-peers-") as alone:
            exporter.slice(place, [plan.task_set], Path(alone))
            size = _bytes(Path(alone))
    else:
        size = sum((place / name).stat().st_size for name in exporter.files(plan.task_set))
    return Program(((place, plan.task_set),), plan.macs, plan.computed_macs, plan.params, size)


def _together(programs: list[Program]) -> Program:
    return Program(
        tuple(part for program in programs for part in program.parts),
        *(sum(getattr(program, name) for program in programs) for name in ("macs", "computed_macs", "params", "bytes")),
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
