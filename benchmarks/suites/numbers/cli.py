"""The command line of the suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.suites.lowering.nets import grouped
from benchmarks.suites.numbers.judging import KINDS, judge, time_kinds
from benchmarks.suites.numbers.page import page
from benchmarks.suites.output import OUT, spelled
from benchmarks.suites.paper.cell import Cell
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.setups import SUITES
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import dataset
from pamc.data import shuffled
from pamc.lower.target import RUNTIMES
from pamc_bench.environment import describe_machine

__all__ = ["main"]

SAMPLES = 512
WIDE = ("vgg16", "pam", 2, 64)
"""A network that takes long enough for its arithmetic to show: split, tasks and pixels as in the lowering suite."""


@click.command()
@click.option("--suites", default="fashion-4,mnist-5", show_default=True, help="Suites whose networks are judged.")
@click.option("--rows", "names", default="b1,pam,share", show_default=True, help="Rows of them.")
@click.option("--scale", default="small", show_default=True, type=click.Choice(["small", "full"]))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--runs", default=25, show_default=True, type=click.IntRange(min=1), help="Rounds of the timing.")
@click.option("--out", default=OUT, show_default=True, type=click.Path(path_type=Path), help="Folder of the results.")
@click.option("--page-only", is_flag=True, help="Write the page again from the JSON.")
def main(suites: str, names: str, scale: str, seeds: int, runs: int, out: Path, page_only: bool) -> None:
    """Write the networks that the paper's suites have kept in float32, float16 and int8, and compare the files.

    Rows that no suite has computed yet are left out. Run it with OMP_NUM_THREADS=1.
    """
    path = out / "numbers.json"
    if not page_only:
        for known, given, what in ((SUITES, suites, "suite"), (ROWS, names, "row")):
            if unknown := [name for name in given.split(",") if name not in known]:
                raise click.UsageError(f"no such {what}: {', '.join(unknown)}; choose from {', '.join(known)}")
        held: dict[str, Any] = {
            "command": spelled("numbers"),
            "created": date.today().isoformat(),
            "environment": describe_machine(("onnxruntime", "ai-edge-litert")),
            "samples": SAMPLES,
            "wide": WIDE,
            "judged": list(_judged(suites.split(","), names.split(","), scale, seeds)),
            "timed": list(_timed(runs)),
        }
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    print(path.with_suffix(".md"))


def _judged(suites: list[str], names: list[str], scale: str, seeds: int) -> Iterator[dict[str, Any]]:
    for suite in suites:
        setup = SUITES[suite].setups[scale]
        for seed in range(seeds):
            for name in names:
                cell = Cell(setup, ROWS[name], "taylor", seed, Store.default())
                result = cell.store.result(cell.folder)
                if result is None or "missed" in result:
                    print(f"{suite} {name} seed {seed}: {'no network kept the budget' if result else 'not computed'}")
                    continue
                net, data = cell.store.network(cell.folder), dataset(setup.networks, seed)
                targets = {target.task: target for target in data.targets}
                few = shuffled(data.train, seed, SAMPLES).x
                for format in RUNTIMES:
                    for kind in KINDS:
                        found = judge(net, targets, few, data.test, format, kind)
                        yield {"suite": suite, "row": name, "seed": seed, **found.as_data()}
                print(f"{suite} {name} seed {seed}: judged", flush=True)


def _timed(runs: int) -> Iterator[dict[str, Any]]:
    x = np.random.default_rng(0).standard_normal((8, 3, WIDE[-1], WIDE[-1])).astype(np.float32)
    for format in RUNTIMES:
        for found in time_kinds(grouped(*WIDE), x, format, runs):
            print(f"{format} {found.kind}: {found.ms:.2f} ms", flush=True)
            yield found.as_data()
