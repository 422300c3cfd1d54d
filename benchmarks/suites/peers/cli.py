"""The command line: `python benchmarks/suites/peers SUITE`, or `render` to make the pages again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.suites.output import OUT, out_option, results_file, spelled
from benchmarks.suites.paper.display import run_shown
from benchmarks.suites.paper.jobs import Job
from benchmarks.suites.paper.rows import ROWS as CELLS
from benchmarks.suites.paper.setups import SCALES
from benchmarks.suites.paper.store import Store, write
from benchmarks.suites.peers.campaign import Campaign, results
from benchmarks.suites.peers.counting import BOARDS
from benchmarks.suites.peers.formats import FORMATS, PACKAGES, installed
from benchmarks.suites.peers.measuring import Protocol
from benchmarks.suites.peers.networks import Comparison, jobs
from benchmarks.suites.peers.page import page
from benchmarks.suites.peers.plots import time_plot
from benchmarks.suites.peers.results import read
from benchmarks.suites.peers.rows import rows
from benchmarks.suites.peers.suites import PRUNER, SUITES
from pamc.registry import did_you_mean

__all__ = ["main"]

STANDARD = Protocol()


@click.group()
def main() -> None:
    """Compare what pamc makes with the alternatives, on this machine."""


def _listed(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise click.BadParameter(f"'{name}' is not known{did_you_mean(name, known)}; known: {', '.join(known)}")
    return tuple(name for name in known if name in names)


def _command(suite: str) -> click.Command:
    @click.command(suite, help=SUITES[suite].title)
    @click.option("--scale", type=click.Choice(SCALES), default="small", show_default=True)
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
    @click.option("--rows", "chosen", help="Some of the ways, as a,b; default: all.")
    @click.option(
        "--ours",
        type=click.Choice([row.name for row in CELLS.values() if PRUNER in row.pruners]),
        default="share",
        show_default=True,
        help="The row of benchmarks/suites/paper that is pamc's own.",
    )
    @click.option("--formats", default="onnx,tflite", show_default=True, help=f"Some of {', '.join(FORMATS)}.")
    @click.option("--boards", help=f"Count A64 instructions on emulated boards, as a,b: {', '.join(BOARDS)}.")
    @click.option("--cached", is_flag=True, help="Train nothing: rows whose networks are not there are left out.")
    @click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="For training.")
    @click.option("--blocks", type=click.IntRange(min=2), default=STANDARD.blocks, show_default=True)
    @click.option("--runs", type=click.IntRange(min=1), default=STANDARD.runs, show_default=True, help="In a block.")
    @out_option
    def command(
        scale: str,
        seed: int,
        chosen: str | None,
        ours: str,
        formats: str,
        boards: str | None,
        cached: bool,
        workers: int,
        blocks: int,
        runs: int,
        out: Path | None,
    ) -> None:
        every = rows(ours)
        wanted = [every[name] for name in (_listed(chosen, tuple(every)) if chosen else tuple(every))]
        wanted_formats = _listed(formats, FORMATS)
        if lacking := [PACKAGES[format] for format in wanted_formats if not installed(format)]:
            raise click.UsageError(f"not installed: {', '.join(lacking)}; pip install {' '.join(lacking)}")
        comparison = Comparison(SUITES[suite].setups[scale], seed, Store.default())
        code = 0
        if not cached:
            code |= _run(f"{suite}, {scale}: networks", jobs(comparison, wanted), workers)
        with TemporaryDirectory(prefix="pamc-peers-") as folder:
            campaign = Campaign(
                comparison,
                tuple(wanted),
                wanted_formats,
                _listed(boards, tuple(BOARDS)) if boards else (),
                Protocol(blocks, runs),
                Path(folder),
            )
            code |= _run("accuracy, memory, instructions", campaign.judging(), 1)
            # One after another: nothing of ours runs beside what is timed.
            code |= _run("times", campaign.timing(), 1)
            held = results(campaign, SUITES[suite], scale, spelled("peers"))
        if held is None:
            sys.exit("no row was measured to its end")
        path = results_file(f"peers-{suite}", scale, out)
        write(path, held)
        _pages(path)
        sys.exit(code)

    return command


for name in SUITES:
    main.add_command(_command(name))


@main.command("render")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
def _render(files: Sequence[Path]) -> None:
    """Make the pages and plots of results FILES again; default: of all in docs/benchmarks."""
    for path in files or sorted(OUT.glob("peers-*.json")):
        _pages(path)


def _run(title: str, todo: Sequence[Job], workers: int) -> int:
    """Run jobs with a display. Returns 1 when one failed, and ends the program after Ctrl-C."""
    if not todo:
        return 0
    print(f"{title}: {len(todo)} jobs", flush=True)
    return int(bool(run_shown(todo, workers)))


def _pages(path: Path) -> None:
    """The Markdown page and the plot of a results file."""
    found = read(path)
    plot = path.with_suffix(".svg")
    write(plot, f"{time_plot(found)}\n".encode())
    write(path.with_suffix(".md"), page(found, plot.name).encode())
    print(path.with_suffix(".md"))
