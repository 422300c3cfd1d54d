"""The command line of the suite."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.suites.lowering.page import page
from benchmarks.suites.lowering.timing import Setup, rows
from pamc.lower.target import RUNTIMES
from pamc_bench.environment import describe_machine

__all__ = ["main"]

OUT = Path("docs/benchmarks/lowering.json")
NOTES = Path(__file__).with_name("notes.md")
SETUPS = (
    Setup("vgg16", "pam", 2, 64),
    Setup("vgg16", "pam", 2, 112),
    Setup("resnet18", "pam", 2, 112),
    Setup("vgg16", "pam", 3, 64),
    Setup("resnet18", "pam", 3, 112),
    Setup("vgg16", "lattice", 3, 64),
    Setup("resnet18", "lattice", 3, 112),
    Setup("vgg16", "pam", 4, 64),
    Setup("resnet18", "pam", 4, 112),
    Setup("resnet18", "lattice", 4, 112),
)
QUICK = (Setup("resnet18", "pam", 2, 64), Setup("resnet18", "lattice", 3, 64))


@click.command()
@click.option("--quick", is_flag=True, help="Two small networks and few runs; writes no page.")
@click.option("--format", "formats", multiple=True, type=click.Choice(list(RUNTIMES)), help="Default: onnx.")
@click.option("--runs", type=click.IntRange(min=1), help="Rounds for each task set.  [default: 25, 9 with --quick]")
@click.option("--json", "out", type=click.Path(path_type=Path), help=f"Default: {OUT}; none with --quick.")
@click.option("--page-only", is_flag=True, help="Write the page again from the JSON.")
def main(quick: bool, formats: tuple[str, ...], runs: int | None, out: Path | None, page_only: bool) -> None:
    """Time plans against dense networks, for every task set. Run it with OMP_NUM_THREADS=1 on a quiet machine."""
    out = out or (None if quick else OUT)
    if page_only and out is not None:
        held = json.loads(out.read_text(encoding="utf-8"))
        out.with_suffix(".md").write_text(page(held["rows"], held["environment"], NOTES.read_text()), encoding="utf-8")
        return
    data = []
    environment = describe_machine(("onnxruntime", "ai-edge-litert"))
    for format in formats or ("onnx",):
        for setup in QUICK if quick else SETUPS:
            for row in rows(setup, format, runs or (9 if quick else 25)):
                data.append(row.as_data())
                print(
                    f"{row.runtime:11} {setup.network:8} {setup.split:7} {setup.tasks} tasks {setup.size:3} px "
                    f"{row.task_set:7} MACs {row.macs:.3f} time {row.time:.3f} factor {row.factor:.2f} "
                    f"(one op a group {row.plain_factor:.2f}) shown {row.shown:.2f}  {row.ms:.2f} ms, "
                    f"estimated {row.estimated_ms:.2f}, weights x{row.bytes:.3f}",
                    flush=True,
                )
            if out is not None:
                text = json.dumps({"environment": environment, "rows": data}, indent=1)
                out.write_text(text + "\n", encoding="utf-8")
    if out is not None and not quick:
        out.with_suffix(".md").write_text(page(data, environment, NOTES.read_text()), encoding="utf-8")
