"""The command line: `python benchmarks/suites/paper SUITE`, or `render` to make the pages again."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.suites.output import OUT, out_option, results_file, spelled
from benchmarks.suites.paper.cell import Cell
from benchmarks.suites.paper.display import run_shown
from benchmarks.suites.paper.pareto import curves, with_suites
from benchmarks.suites.paper.plan import cells, jobs
from benchmarks.suites.paper.plots import accuracy_plot, cost_plot, pareto_plot
from benchmarks.suites.paper.results import Found, collect, read
from benchmarks.suites.paper.rows import PRUNERS, ROWS
from benchmarks.suites.paper.setups import SCALES, SUITES
from benchmarks.suites.paper.store import Store, write
from benchmarks.suites.paper.tables import render

__all__ = ["main"]


@click.group()
def main() -> None:
    """Compare merge methods and pruners at equal accuracy."""


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    known = tuple(ROWS) if parameter.name == "rows" else PRUNERS
    names = known if value is None else tuple(value.split(","))
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def _page_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    # `render` finds the results of a suite by the beginning of their names.
    suite = str(context.info_name)
    if value is not None and not re.fullmatch(rf"{re.escape(suite)}-[a-z0-9.-]+", value):
        raise click.BadParameter(f"a name that begins with {suite}- and has only a-z, 0-9, dots and hyphens")
    return value


def _command(suite: str) -> click.Command:
    @click.command(suite, help=SUITES[suite].title)
    @click.option("--scale", type=click.Choice(SCALES), default="small", show_default=True)
    @click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds; default: the scale's.")
    @click.option("--max-drop", type=click.FloatRange(min=0), help="Points a task may lose; default: the scale's.")
    @click.option("--rows", callback=_names, help="Some of the methods, as a,b; default: all.")
    @click.option("--pruners", callback=_names, help="Some of the pruners, as a,b; default: all.")
    @click.option("--workers", type=click.IntRange(min=1), help="Cells at a time; default: the number of cores.")
    @click.option(
        "--page", "named", callback=_page_name, help="The page's name; default: the suite's, with the budget."
    )
    @click.option("--fresh", is_flag=True, help="Compute finished cells again.")
    @out_option
    def command(
        scale: str,
        seeds: int | None,
        max_drop: float | None,
        rows: tuple[str, ...],
        pruners: tuple[str, ...],
        workers: int | None,
        named: str | None,
        fresh: bool,
        out: Path | None,
    ) -> None:
        page, setup = suite, SUITES[suite].setups[scale]
        if max_drop is not None and max_drop != setup.max_drop:
            page, setup = f"{suite}-drop-{max_drop:g}", replace(setup, max_drop=max_drop)
        page = named or page
        wanted = cells(setup, rows, pruners, seeds or setup.seeds, Store.default())
        if fresh:
            for cell in wanted:
                cell.forget()
        finished, code = _run(f"{page}, {scale}", wanted, workers or _cores())
        if finished:
            path = results_file(page, scale, out)
            collect(SUITES[suite], scale, setup, spelled("paper"), finished, path)
            _pages([path])
        sys.exit(code)

    return command


for name in SUITES:
    main.add_command(_command(name))


@main.command("render")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
def _render(files: Sequence[Path]) -> None:
    """Make the pages and plots of results FILES again; default: of all in docs/benchmarks."""
    # Other suites keep their results in the same folder.
    _pages(files or sorted(path for name in SUITES for path in OUT.glob(f"{name}*.json")))


def _run(title: str, wanted: Sequence[Cell], workers: int) -> tuple[list[Found], int]:
    """Compute what is missing. Returns the results that there are, and the exit code."""
    todo = jobs(wanted)
    held = len(wanted) - sum(job.name in {cell.name for cell in wanted} for job in todo)
    print(f"{title}: {len(wanted)} cells, {held} finished before; {len(todo)} jobs on {workers} workers")
    if errors := run_shown(todo, workers):
        print(f"{len(errors)} of {len(todo)} jobs failed: {', '.join(errors)}", file=sys.stderr)
    return [result for cell in wanted if (result := cell.result) is not None], int(bool(errors))


def _pages(files: Sequence[Path]) -> None:
    """The pages of results files, and those of the suites whose curves show them."""
    for path in with_suites(files):
        _page(path)


def _page(path: Path) -> None:
    """The Markdown page and the plots of a results file."""
    results, drawn = read(path), curves(path)
    plots: dict[str, dict[str, str]] = {}
    for pruner in results.pruners:
        for title, draw in (("cost by number of tasks", cost_plot), ("accuracy against cost", accuracy_plot)):
            file = path.with_name(f"{path.stem}-{pruner}-{title.split()[0]}.svg")
            write(file, f"{draw(results, pruner)}\n".encode())
            plots.setdefault(pruner, {})[title] = file.name
    for found in drawn.values():
        write(path.with_name(found.file), f"{pareto_plot(found)}\n".encode())
    page = path.with_suffix(".md")
    write(page, render(results, plots, drawn).encode())
    print(page)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
