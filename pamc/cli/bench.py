"""`pamc bench` and `pamc bench compare`."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pamc.cli.bench_counts import calibrate, counts
from pamc.cli.common import (
    bundle_argument,
    check_writable,
    json_option,
    output_options,
    print_json,
    verbosity,
    write_text,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pamc_bench.compare import Comparison
    from pamc_bench.fleet import Watcher
    from pamc_bench.results import Protocol, Result

__all__ = ["command"]

MEASURE = "run"


class _MeasureByDefault(click.Group):
    """`pamc bench BUNDLE` is `pamc bench run BUNDLE`: what is no subcommand is a bundle."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_help = args and args[0] in ctx.help_option_names
        if args and args[0] not in self.commands and not asks_help:
            args = [MEASURE, *args]
        return super().parse_args(ctx, args)


@click.group("bench", cls=_MeasureByDefault, subcommand_metavar="BUNDLE [OPTIONS] | COMMAND [ARGS]")
def command() -> None:
    """Measure how fast the task sets of a bundle run, here or on devices.

    `pamc bench BUNDLE` measures (its options: `pamc bench run --help`); `pamc bench compare` compares results.
    """


command.add_command(counts)
command.add_command(calibrate)


fail_if_option = click.option(
    "--fail-if",
    "goals",
    multiple=True,
    metavar="WHAT=N%",
    help="Exit with code 6 when this grew by more than N %: slower, first, load, memory, instructions.",
)
undecided_option = click.option(
    "--undecided",
    type=click.Choice(["pass", "fail"]),
    default="pass",
    show_default=True,
    help="What becomes of a goal whose interval spans the limit.",
)


@command.command(MEASURE)
@bundle_argument
@click.option("--device", "devices", multiple=True, metavar="URL", help="Where to measure; several run side by side.")
@click.option(
    "--tasks", multiple=True, metavar="SET", help="Task set such as age+smile; may be repeated.  [default: all]"
)
@click.option("--runtime", metavar="A,B", help="onnxruntime, litert.  [default: all that the bundle has files for]")
@click.option("--threads", default="1", show_default=True, metavar="N,M", help="Threads of one inference.")
@click.option("--cores", default="all", show_default=True, metavar="CORES", help="all, big, little, 0-3,5 or 0x2f.")
@click.option("--against", multiple=True, type=click.Path(path_type=Path), help="Measure BUNDLE in turn with this one.")
@click.option("--aa", is_flag=True, help="Measure BUNDLE against itself: the noise floor of the device.")
@click.option(
    "--blocks", type=click.IntRange(min=1), help="Processes for each variant.  [default: 5, or 20 with --against]"
)
@click.option("--precision", metavar="N%", help="Go on until changes are known to N %.  [default with --against: 0.8%]")
@click.option("--quick", is_flag=True, help="Short blocks, for a first look; the result says so.")
@click.option("--sustained", metavar="TIME", help="One long block for each variant, such as 5m: how times change.")
@click.option("--counts", is_flag=True, help="Count instructions exactly, on emulated:// devices.")
@click.option("--per-layer", is_flag=True, help="With --counts: count every kernel of a network, too.")
@click.option("--allow-unstable", is_flag=True, help="Measure even where the times would be wrong.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the result, packed if it ends in .gz.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="File for the figures as CSV.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws the order of the blocks.")
@fail_if_option
@undecided_option
@json_option
@output_options
@click.pass_context
def measure(ctx: click.Context, /, bundle: Path, as_json: bool, **given: Any) -> None:
    """Measure the task sets of BUNDLE: latency, load time and memory, every sample kept."""
    from pamc.bundle import open_bundle

    opened = [open_bundle(path) for path in (bundle, *given["against"])]
    for path in filter(None, (given["out"], given["csv_file"])):
        check_writable(path)

    from pamc.errors import EXIT_INTERRUPTED, DeviceError
    from pamc_bench.compare import compare_baseline, refuse_missed
    from pamc_bench.counts import RUNTIME, Counting, check_counting
    from pamc_bench.counts_table import counts_table
    from pamc_bench.fleet import measure_fleet
    from pamc_bench.goals import parse_goals
    from pamc_bench.request import (
        Request,
        chosen_sets,
        named_bundles,
        parse_cpus,
        parse_threads,
        runtimes_of,
    )
    from pamc_bench.results import to_json, write_result
    from pamc_bench.rows import to_csv
    from pamc_bench.station import open_station
    from pamc_bench.table import comparison_table, result_table

    if given["aa"] and given["against"]:
        raise click.UsageError("--aa and --against exclude each other")
    if given["per_layer"] and not given["counts"]:
        raise click.UsageError("--per-layer needs --counts")
    bundles = named_bundles(opened, again=given["aa"])
    compared = len(bundles) > 1
    goals = parse_goals(given["goals"])
    if goals and not compared:
        raise click.UsageError("--fail-if needs --against; results of two runs are compared by `pamc bench compare`")
    request = Request(
        bundles=bundles,
        baseline=list(bundles)[1] if compared else None,
        task_sets=chosen_sets(bundles, given["tasks"]),
        runtimes=runtimes_of(bundles, given["runtime"] or (RUNTIME if given["counts"] else None)),
        threads=parse_threads(given["threads"]),
        cores=parse_cpus(given["cores"]),
        protocol=_protocol(given, compared),
        seed=given["seed"],
        allow_unstable=given["allow_unstable"],
    )
    urls = list(dict.fromkeys(given["devices"])) or ["local"]
    counting = Counting(per_layer=given["per_layer"])
    if given["counts"]:
        check_counting(urls, request)
    with ExitStack() as stack:
        watcher = _watcher(stack)
        opener = counting.open if given["counts"] else open_station
        result = counting.add_to(measure_fleet(urls, request, opener, watcher, command=_command_line()))
    comparison = compare_baseline(result, goals if result.complete else ()) if compared else None
    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        _show(result_table(result))
        if given["counts"]:
            _show(counts_table(result, layers=given["per_layer"]))
        if comparison is not None:
            _show(comparison_table(comparison))
    if given["csv_file"] is not None:
        write_text(given["csv_file"], to_csv(result))
    if given["out"] is not None:
        write_result(given["out"], result)
        if not as_json:
            click.echo(f"{given['out']}: the result; pamc report shows it, pamc bench compare compares it")
    if failed := _failed(result, urls):
        raise DeviceError(f"{len(failed)} of {len(urls)} devices failed", why="; ".join(failed))
    if not result.complete:
        click.echo("interrupted: what was finished is kept, marked as not complete", err=True)
        ctx.exit(EXIT_INTERRUPTED)
    if comparison is not None:
        refuse_missed(comparison, undecided=given["undecided"] == "fail")


@command.command("compare")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="BEFORE AFTER | RESULT")
@fail_if_option
@undecided_option
@click.option("--allow-unlike", is_flag=True, help="Compare other devices or task sets than before, as far as they go.")
@json_option
@output_options
def compare_results(
    results: tuple[Path, ...], goals: tuple[str, ...], undecided: str, allow_unlike: bool, as_json: bool
) -> None:
    """Compare the result AFTER with BEFORE, or the bundles of one RESULT that --against or --aa measured.

    Exits with code 6 when a goal is missed.
    """
    if len(results) > 2:
        raise click.UsageError("name one or two results")

    from pamc_bench.compare import compare, compare_baseline, refuse_missed
    from pamc_bench.goals import parse_goals
    from pamc_bench.results import read_result
    from pamc_bench.table import comparison_table

    parsed = parse_goals(goals)
    found = [read_result(path) for path in results]
    if len(found) == 1:
        comparison = compare_baseline(found[0], parsed)
    else:
        comparison = compare(found[0], found[1], parsed, allow_unlike=allow_unlike)
    if as_json:
        print_json(_as_data(comparison))
    else:
        _show(comparison_table(comparison))
    refuse_missed(comparison, undecided=undecided == "fail")


def _protocol(given: dict[str, Any], compared: bool) -> "Protocol":
    from dataclasses import replace

    from pamc.errors import ConfigError
    from pamc_bench.request import COMPARING, parse_time
    from pamc_bench.results import Protocol

    if given["sustained"] is not None:
        if given["quick"] or compared or given["blocks"] is not None:
            raise click.UsageError("--sustained is measured alone, in one block")
        seconds = parse_time(given["sustained"])
        return Protocol(blocks=1, min_seconds=seconds, max_seconds=2 * seconds + 60, sustained=True)
    protocol = COMPARING if compared else Protocol()
    if given["quick"]:
        short = (
            {"blocks": 3, "precision": None}
            if compared
            else {"min_runs": 20, "min_seconds": 0.2, "warmup_seconds": 0.1}
        )
        protocol = replace(protocol, **short, quick=True)
    if given["blocks"] is not None:
        blocks = given["blocks"]
        protocol = replace(protocol, blocks=blocks, max_blocks=max(blocks, protocol.max_blocks))
    if given["precision"] is not None:
        if not compared:
            raise click.UsageError("--precision is about changes: it needs --against or --aa")
        try:
            protocol = replace(protocol, precision=float(given["precision"].rstrip("% ")) / 100)
        except ValueError:
            raise ConfigError(
                f"'{given['precision']}' is no precision", where="--precision", cure="write it as 1%"
            ) from None
    return protocol


def _watcher(stack: ExitStack) -> "Watcher":
    from pamc_bench.live import LineWatcher, LiveWatcher, SilentWatcher

    if verbosity() < 0:
        return SilentWatcher()
    if sys.stderr.isatty():
        from rich.console import Console

        return stack.enter_context(LiveWatcher(Console(stderr=True, highlight=False)).shown())
    return LineWatcher(sys.stderr)


def _command_line() -> list[str]:
    return ["pamc", *sys.argv[1:]]


def _failed(result: "Result", urls: list[str]) -> list[str]:
    missing = [f"{url}: nothing was measured" for url in urls if url not in result.devices]
    return [*missing, *(f"{url}: {entry.failure}" for url, entry in result.devices.items() if entry.failure)]


def _show(renderable: "RenderableType") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    # A log has no width: lines are not to be broken in a file.
    wide = Console(highlight=False, width=200) if not console.is_terminal else console
    wide.print(renderable, soft_wrap=not console.is_terminal)


def _as_data(comparison: "Comparison") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "paired": comparison.paired,
        "notes": list(comparison.notes),
        "pairs": [
            {
                **asdict(pair.after.key),
                "before": asdict(pair.before.key),
                "changes": {name: asdict(change) for name, change in pair.changes.items()},
                "notes": list(pair.notes),
            }
            for pair in comparison.pairs
        ],
        "goals": [
            {**asdict(finding.pair.after.key), "goal": str(finding.goal), "verdict": finding.verdict}
            for finding in comparison.findings
        ],
    }
