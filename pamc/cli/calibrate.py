"""`pamc calibrate`."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pamc.cli.common import check_writable, json_option, make_progress, output_options, print_json

if TYPE_CHECKING:
    from pamc_bench.calibration import Fit

__all__ = ["command"]

RUNTIMES = ("onnxruntime", "litert")
HERE = "local"
RUNS = 25


@click.command("calibrate")
@click.option("--device", "url", default=HERE, show_default=True, metavar="URL", help="Where to measure.")
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="onnxruntime", show_default=True, help="What to measure."
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: one in the cache, by device]")
@click.option(
    "--runs", type=click.IntRange(min=1), help=f"Rounds over all networks.  [default: {RUNS} here, 3 on a device]"
)
@click.option("--cores", metavar="CORES", help="On a device: all, big, little, 0-3,5 or 0x2f.  [default: the big ones]")
@click.option("--allow-unstable", is_flag=True, help="Measure even where the times of a device would be wrong.")
@click.option("--quick", is_flag=True, help="A small grid of networks: for a first look.")
@json_option
@output_options
def command(
    url: str,
    runtime: str,
    out: Path | None,
    runs: int | None,
    cores: str | None,
    allow_unstable: bool,
    quick: bool,
    as_json: bool,
) -> None:
    """Measure what operations take, for `pamc build --costs FILE`.

    Times small networks in one thread and fits the prices of the cost model, by which lowering folds and splits groups.
    On a device (ssh://pi@board, adb://SERIAL) the networks are sent, timed there and removed. On an emulated
    board (emulated://rpi4) their instructions are counted, and the prices are estimates.
    """
    if url == HERE and (cores is not None or allow_unstable):
        raise click.UsageError("--cores and --allow-unstable are for devices; here the thread's CPU time counts")

    from pamc.bundle.cache import cache_root
    from pamc.lower.target import write_costs

    costs = cache_root() / "costs"
    # In the cache, what the file is called is known only after measuring.
    check_writable(out or costs / f"{runtime}.yaml", make_parents=True)
    fit, name = _here(runtime, runs, quick) if url == HERE else _there(url, runtime, runs, cores, allow_unstable, quick)
    path = out or costs / f"{name}.yaml"
    write_costs(path, fit.costs)
    if as_json:
        errors = {"median": fit.median_error, "p90": fit.worst_tenth}
        print_json({"path": str(path), "networks": fit.networks, "relative_error": errors, **fit.costs.as_data()})
        return
    width = max(map(len, fit.costs.prices))
    for price, seconds in fit.costs.prices.items():
        click.echo(f"{price:<{width}}  {seconds:.3g} s")
    click.echo(f"{fit.networks} networks; relative error {fit.median_error:.1%} (median), {fit.worst_tenth:.1%} (p90)")
    click.echo(f"{path}: the costs; use them with pamc build --costs")


def _format(runtime: str) -> str:
    from pamc.lower.target import RUNTIMES as formats

    (format,) = (format for format, name in formats.items() if name == runtime)
    return format


def _here(runtime: str, runs: int | None, quick: bool) -> "tuple[Fit, str]":
    from pamc.export import find_exporter
    from pamc_bench.calibration import calibrate, identity

    exporter = find_exporter(_format(runtime))
    fit = calibrate(runtime, exporter, platform.machine(), make_progress(), runs=runs or RUNS, quick=quick)
    return fit, identity(runtime)


def _there(
    url: str, runtime: str, runs: int | None, cores: str | None, allow_unstable: bool, quick: bool
) -> "tuple[Fit, str]":
    from pamc.export import find_exporter
    from pamc_bench.calibration_counted import calibrate_counted
    from pamc_bench.calibration_device import ROUNDS, Settings, calibrate_device
    from pamc_bench.request import parse_cpus
    from pamc_devices.emulated import EmulatedDevice
    from pamc_devices.find import opened

    exporter, progress = find_exporter(_format(runtime)), make_progress()
    with opened(url) as device:
        board = device.name if isinstance(device, EmulatedDevice) else None
    if board is not None:
        if runs is not None or cores is not None or allow_unstable:
            raise click.UsageError("--runs, --cores and --allow-unstable are for times; an emulated board is counted")
        found = calibrate_counted(board, runtime, exporter, progress, quick=quick)
    else:
        chosen = None if cores is None else parse_cpus(cores)
        settings = Settings(runtime, runs or ROUNDS, chosen, allow_unstable)
        found = calibrate_device(url, exporter, settings, progress, quick=quick)
    return found.fit, found.identity
