"""What is measured of written files: accuracy, resident memory, and time in blocks of interleaved runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.suites.paper.store import write
from benchmarks.suites.paper.train import dataset
from benchmarks.suites.peers.formats import PACKAGES, exporter_of
from benchmarks.suites.peers.networks import Comparison, networks
from benchmarks.suites.peers.programs import TARGET, Written, open_parts
from benchmarks.suites.peers.rows import Row
from pamc.bundle.digest import digest
from pamc.errors import InternalError
from pamc.export import Session
from pamc.graph import Graph, Node
from pamc.graph.ops import GlobalAvgPool, Input, Shape
from pamc.lower import bare_plan
from pamc.train import predict, score
from pamc.verify import RTOL, errors
from pamc_bench.protocol import Warmup, measure

__all__ = ["AGAIN", "EMPTY", "TIMING", "Protocol", "answered", "block", "kept", "key_of", "resident"]

VERSION = 1
AGAIN = "again"
"""The last row once more, from the same files: what differs between the two is noise."""

EMPTY = "empty"
"""A file that computes next to nothing: what calling a runtime from Python takes, once for each file."""

TIMING = 2
"""Raise it when blocks are measured in another way: kept ones are then not used."""

PROCESSES = 3


@dataclass(frozen=True, slots=True)
class Protocol:
    """``blocks`` processes; each runs, for every task set, all rows in turn at least ``runs`` times."""

    blocks: int = 7
    runs: int = 60
    seconds: float = 0.02
    warmup_seconds: float = 0.02


def key_of(written: Written) -> str:
    """The same for the same files, runtime and way of measuring."""
    opened = {
        task_set: [[str(folder.relative_to(written.folder)), name] for folder, name in program.parts]
        for task_set, program in written.programs.items()
    }
    return digest(VERSION, written.format, version(PACKAGES[written.format]), opened, written.folder)


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> str:
    """Compute a JSON file that is not there. Returns a line about it."""
    if path.exists():
        return "finished before"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, (json.dumps(make(), indent=1) + "\n").encode())
    return "done"


def answered(written: Written, comparison: Comparison, row: Row) -> dict[str, Any]:
    """The test accuracy of every task in every task set in percent, from the files themselves.

    ``error`` is the largest difference from the networks that they were written from, relative to the largest output.
    Raises InternalError where it is more than pamc allows its own files.
    """
    data = dataset(comparison.setup.networks, comparison.seed)
    nets = networks(comparison, row)
    assert not isinstance(nets, str)
    wanted = {task: output for net in nets.values() for task, output in predict(net, data.test.x).items()}
    targets = {target.task: target for target in data.targets}
    outputs: dict[tuple[Path, str], dict[str, Any]] = {}
    accuracies: dict[str, dict[str, float]] = {}
    worst = 0.0
    for task_set, program in written.programs.items():
        for part, session in zip(program.parts, open_parts(written, task_set), strict=True):
            if part not in outputs:
                outputs[part] = session.run(data.test.x)
        found = {task: output for part in program.parts for task, output in outputs[part].items()}
        tasks = task_set.split("+")
        worst = max(worst, *(errors(found[task], wanted[task])[1] for task in tasks))
        accuracies[task_set] = {task: score(targets[task], found[task], data.test.labels[task]) for task in tasks}
    if not worst <= RTOL:
        raise InternalError(
            f"the {written.format} files of {written.row} do not compute what their networks do",
            why=f"outputs differ by {worst:.2g} of the largest, should be at most {RTOL:g}",
        )
    return {"accuracies": accuracies, "error": worst}


def resident(written: Written, comparison: Comparison) -> dict[str, Any]:
    """KiB by task set: what opening and running adds to a process with the runtime, and its peak; medians."""
    x = dataset(comparison.setup.networks, comparison.seed).test.x[:1]
    found: dict[str, dict[str, float]] = {}
    with TemporaryDirectory(prefix="pamc-peers-") as folder:
        np.save(Path(folder) / "x.npy", x)
        measured: dict[tuple[tuple[Path, str], ...], dict[str, float]] = {}
        for task_set, program in written.programs.items():
            if program.parts not in measured:
                measured[program.parts] = _resident(written.format, program.parts, Path(folder) / "x.npy")
            found[task_set] = measured[program.parts]
    return {"resident": found}


def _resident(format: str, parts: Sequence[tuple[Path, str]], x: Path) -> dict[str, float]:
    asked = {"format": format, "parts": [[str(folder), name] for folder, name in parts], "input": str(x)}
    command = [sys.executable, "-m", "benchmarks.suites.peers.resident"]
    answers = []
    for _ in range(PROCESSES):
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
        if done.returncode:
            raise InternalError("the memory of a row could not be measured", why=done.stderr.strip()[-500:])
        answers.append(json.loads(done.stdout))
    return {
        "added": median(answer["after"] - answer["before"] for answer in answers),
        "peak": median(answer["peak"] for answer in answers),
    }


def block(written: Mapping[str, Written], comparison: Comparison, protocol: Protocol, number: int) -> dict[str, Any]:
    """Median thread CPU time of one inference in ns, by task set and row; the last row is there twice, and EMPTY.

    All rows of a task set are interleaved in an order drawn anew each round. Networks that run one after another count
    as one inference.
    """
    x = dataset(comparison.setup.networks, comparison.seed).test.x[:1]
    named = {**written, AGAIN: list(written.values())[-1]}
    sets = list(next(iter(written.values())).programs)
    found: dict[str, dict[str, Any]] = {}
    format = next(iter(written.values())).format
    with TemporaryDirectory(prefix="pamc-peers-") as folder:
        empty = _empty(format, Path(folder), x.shape[1:])
    for task_set in sets:
        sessions = {name: open_parts(item, task_set) for name, item in named.items()}
        running = {name: _running(parts, x) for name, parts in sessions.items()}
        samples = measure(
            {**running, EMPTY: _running([empty], x.astype(np.float32))},
            min_runs=protocol.runs,
            min_seconds=protocol.seconds,
            warmup=Warmup(min_seconds=protocol.warmup_seconds, max_seconds=10 * protocol.warmup_seconds, window=5),
            seed=number,
            clock=time.thread_time_ns,
        )
        found[task_set] = {
            name: {"median": median(item.ns), "runs": len(item.ns), "steady": item.steady}
            for name, item in samples.items()
        }
    return {"number": number, "protocol": asdict(protocol), "ns": found}


def _running(sessions: Sequence[Session], x: np.ndarray[Any, Any]) -> Callable[[], None]:
    def run() -> None:
        for session in sessions:
            session.run(x)

    return run


def _empty(format: str, folder: Path, shape: Shape) -> Session:
    graph = Graph((Node("x", Input(shape)), Node("mean", GlobalAvgPool(), ("x",))), {EMPTY: "mean"}, {})
    exporter = exporter_of(format)
    exporter.write({EMPTY: bare_plan(graph, TARGET)}, folder, {})
    return exporter.open(folder, EMPTY, 1)
