"""`pamc calibrate`."""

import platform
from pathlib import Path

import click

from pamc.cli.common import json_option, make_progress, output_options, print_json

__all__ = ["command"]

RUNTIMES = ("onnxruntime", "litert")


@click.command("calibrate")
@click.option("--device", default="local", show_default=True, help="Where to measure; this version knows 'local' only.")
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="onnxruntime", show_default=True, help="What to measure."
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: one in the cache, by device]")
@click.option("--runs", type=click.IntRange(min=1), default=25, show_default=True, help="Rounds over all networks.")
@click.option("--quick", is_flag=True, help="A small grid of networks: for a first look.")
@json_option
@output_options
def command(device: str, runtime: str, out: Path | None, runs: int, quick: bool, as_json: bool) -> None:
    """Measure what operations take, for `pamc build --costs FILE`.

    Times small networks in one thread and fits the prices of the cost model, by which lowering folds and splits groups.
    """
    from pamc.errors import ConfigError

    if device != "local":
        raise ConfigError(
            f"nothing can be measured on the device '{device}'", cure="run pamc on that machine with --device local"
        )

    from pamc.bundle.cache import cache_root
    from pamc.export import find_exporter
    from pamc.lower.target import RUNTIMES as formats
    from pamc.lower.target import write_costs
    from pamc_bench.calibration import KERNELS, calibrate, identity

    arch = platform.machine()
    if arch not in KERNELS[runtime]:
        raise ConfigError(
            f"the kernels of {runtime} on {arch} are not known", cure=f"use one of: {', '.join(KERNELS[runtime])}"
        )
    (format,) = (format for format, name in formats.items() if name == runtime)
    exporter = find_exporter(format)
    fit = calibrate(runtime, exporter, arch, KERNELS[runtime][arch], make_progress(), runs=runs, quick=quick)
    path = out or cache_root() / "costs" / f"{identity(runtime)}.yaml"
    write_costs(path, fit.costs)
    if as_json:
        errors = {"median": fit.median_error, "p90": fit.worst_tenth}
        print_json({"path": str(path), "networks": fit.networks, "relative_error": errors, **fit.costs.as_data()})
        return
    width = max(map(len, fit.costs.prices))
    for name, price in fit.costs.prices.items():
        click.echo(f"{name:<{width}}  {price:.3g} s")
    click.echo(f"{fit.networks} networks; relative error {fit.median_error:.1%} (median), {fit.worst_tenth:.1%} (p90)")
    click.echo(f"{path}: the costs; use them with pamc build --costs")
