"""The command line: `python benchmarks/suites/paper SUITE`, or `render` to make the pages again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.suites.paper.display import shown
from benchmarks.suites.paper.jobs import run_jobs
from benchmarks.suites.paper.plan import cells, jobs
from benchmarks.suites.paper.plots import accuracy_plot, cost_plot
from benchmarks.suites.paper.results import collect, read
from benchmarks.suites.paper.rows import PRUNERS, ROWS
from benchmarks.suites.paper.setups import SCALES, SUITES
from benchmarks.suites.paper.store import Store, write
from benchmarks.suites.paper.tables import render
from pamc.errors import EXIT_INTERRUPTED

__all__ = ["main"]

OUT = Path("docs/benchmarks")
SMOKE_OUT = Path("build/benchmarks")


@click.group()
def main() -> None:
    """Compare merge methods and pruners at equal accuracy."""


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    known = tuple(ROWS) if parameter.name == "rows" else PRUNERS
    names = known if value is None else tuple(value.split(","))
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def _command(suite: str) -> click.Command:
    @click.command(suite, help=SUITES[suite].title)
    @click.option("--scale", type=click.Choice(SCALES), default="small", show_default=True)
    @click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds; default: the scale's.")
    @click.option("--rows", callback=_names, help="Some of the methods, as a,b; default: all.")
    @click.option("--pruners", callback=_names, help="Some of the pruners, as a,b; default: all.")
    @click.option("--workers", type=click.IntRange(min=1), help="Cells at a time; default: the number of cores.")
    @click.option("--fresh", is_flag=True, help="Compute finished cells again.")
    @click.option("--out", type=click.Path(path_type=Path), help=f"Default: {OUT}; of smoke: {SMOKE_OUT}.")
    def command(
        scale: str,
        seeds: int | None,
        rows: tuple[str, ...],
        pruners: tuple[str, ...],
        workers: int | None,
        fresh: bool,
        out: Path | None,
    ) -> None:
        folder = out or (SMOKE_OUT if scale == "smoke" else OUT)
        sys.exit(_run(suite, scale, seeds, rows, pruners, workers or _cores(), fresh, folder))

    return command


for name in SUITES:
    main.add_command(_command(name))


@main.command("render")
@click.argument("suites", nargs=-1, type=click.Choice([*SUITES]))
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True)
def _render(suites: Sequence[str], out: Path) -> None:
    """Make the pages and plots again from the JSON files in the folder."""
    present = [name for name in SUITES if (out / f"{name}.json").exists()]
    for name in suites or present:
        _pages(out / f"{name}.json")


def _run(
    suite: str,
    scale: str,
    seeds: int | None,
    rows: Sequence[str],
    pruners: Sequence[str],
    workers: int,
    fresh: bool,
    out: Path,
) -> int:
    """Compute what is missing, then write the results. Returns the exit code."""
    setup, store = SUITES[suite].setups[scale], Store.default()
    wanted = cells(setup, rows, pruners, seeds or setup.seeds, store)
    if fresh:
        for cell in wanted:
            store.drop(cell.folder)
    todo = jobs(wanted)
    held = len(wanted) - sum(job.name in {cell.name for cell in wanted} for job in todo)
    print(f"{suite}, {scale}: {len(wanted)} cells, {held} finished before; {len(todo)} jobs on {workers} workers")
    try:
        with shown(len(todo)) as display:
            errors = run_jobs(todo, workers, display)
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED
    if any(store.result(cell.folder) is not None for cell in wanted):
        path = out / f"{suite}.json"
        collect(SUITES[suite], scale, _spelled(), wanted, path)
        _pages(path)
    if errors:
        print(f"{len(errors)} of {len(todo)} jobs failed: {', '.join(errors)}", file=sys.stderr)
    return 1 if errors else 0


def _pages(path: Path) -> None:
    """The Markdown page and the plots of a results file."""
    results = read(path)
    plots: dict[str, dict[str, str]] = {}
    for pruner in results.pruners:
        for title, draw in (("cost by number of tasks", cost_plot), ("accuracy against cost", accuracy_plot)):
            file = path.with_name(f"{path.stem}-{pruner}-{title.split()[0]}.svg")
            write(file, f"{draw(results, pruner)}\n".encode())
            plots.setdefault(pruner, {})[title] = file.name
    page = path.with_suffix(".md")
    write(page, render(results, plots).encode())
    print(page)


def _spelled() -> str:
    return shlex.join(["python", "benchmarks/suites/paper", *sys.argv[1:]])


def _cores() -> int:
    return len(os.sched_getaffinity(0))
