"""`pamc bench counts` and `pamc bench calibrate`: what instruction counts say, and what they may mean in time."""

from pathlib import Path

import click

from pamc.cli.common import json_option, output_options, print_json, write_text

__all__ = ["calibrate", "counts"]


@click.command("counts")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--layers", is_flag=True, help="Also by kernel, where `pamc bench --per-layer` counted them.")
@click.option("--calibration", type=click.Path(path_type=Path), help="File of `pamc bench calibrate`, for estimates.")
@json_option
@output_options
def counts(result: Path, layers: bool, calibration: Path | None, as_json: bool) -> None:
    """Show the instruction counts of RESULT by class, with estimates of the time."""
    from rich.console import Console

    from pamc.errors import ConfigError
    from pamc_bench.counts_estimate import read_calibration
    from pamc_bench.counts_table import as_data, counts_table
    from pamc_bench.results import read_result

    found = read_result(result)
    if all(variant.counts is None for variant in found.variants):
        cure = "pamc bench BUNDLE --device emulated://rpi4 --counts --out FILE"
        raise ConfigError("the result has no instruction counts", where=str(result), cure=cure)
    factor = None if calibration is None else read_calibration(calibration)
    if as_json:
        print_json(as_data(found, factor))
        return
    console = Console(highlight=False, width=200)
    console.print(counts_table(found, layers=layers, calibration=factor), soft_wrap=True)


@click.command("calibrate")
@click.argument("counted", type=click.Path(path_type=Path))
@click.argument("measured", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File for the calibration.")
@output_options
def calibrate(counted: Path, measured: Path, out: Path) -> None:
    """Fit estimates to a real board: COUNTED is a result with counts, MEASURED one of the board, of the same bundles.

    The two may be one file: `pamc bench BUNDLE --device emulated://rpi4 --device ssh://pi@board --counts`.
    """
    from pamc_bench.counts_estimate import fit
    from pamc_bench.results import read_result

    found = fit(read_result(counted), read_result(measured))
    write_text(out, found.to_json(), "calibration")
    click.echo(
        f"{found.board} takes {found.factor:.3g} times the first-order estimate, {found.low:.3g} to {found.high:.3g} "
        f"in {found.variants} networks"
    )
