"""`pamc build`."""

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import get_args

import click

from pamc.cli.common import json_option, make_progress, output_options, print_json, spec_argument
from pamc.spec import Effort, QuantizeKind

__all__ = ["command"]

TARGETS = ("arm64", "armv7", "x86_64", "android-arm64")
STAGES = ("capture", "align", "merge", "prune", "lower", "export")


def _target(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """The target called ``value``, or that of the board or phone whose profile is."""
    if value in TARGETS:
        return value
    from pamc.registry import did_you_mean
    from pamc_devices.board_profiles import profiles

    boards = {profile.name: profile.target() for profile in profiles()}
    if value not in boards:
        known = (*TARGETS, *boards)
        raise click.BadParameter(f"no target is called '{value}'{did_you_mean(value, known)}; use {', '.join(known)}")
    return boards[value]


@click.command("build")
@spec_argument
@click.option(
    "--target",
    metavar="|".join((*TARGETS, "BOARD")),
    callback=_target,
    default="arm64",
    show_default=True,
    help="Machine to build for, or a board or phone that pamc knows, such as rpi4 or pixel-8.",
)
@click.option("--quantize", type=click.Choice(get_args(QuantizeKind)), help="Kind of numbers, instead of MODEL_YAML's.")
@click.option("--emit", metavar="A,B", help="Export formats, such as onnx,tflite, instead of MODEL_YAML's.")
@click.option("--effort", type=click.Choice(get_args(Effort)), help="How long to search, instead of MODEL_YAML's.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle.  [default: build/NAME]")
@click.option("--stop-after", type=click.Choice(STAGES), help="End after this stage; no bundle is written.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done and what it would cost.")
@click.option("--force", is_flag=True, help="Build every stage anew, whatever the cache holds.")
@click.option("--jobs", type=click.IntRange(min=1), help="Searches at once, a core each.  [default: all cores]")
@click.option("--no-latency", is_flag=True, help="Do not time the result on this machine.")
@click.option("--costs", type=click.Path(path_type=Path), help="What operations take, as pamc calibrate wrote it.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Folder of the stage cache.")
@json_option
@output_options
def command(
    model_yaml: Path,
    target: str,
    quantize: str | None,
    emit: str | None,
    effort: Effort | None,
    out: Path | None,
    stop_after: str | None,
    dry_run: bool,
    force: bool,
    jobs: int | None,
    no_latency: bool,
    costs: Path | None,
    cache_dir: Path | None,
    as_json: bool,
) -> None:
    """Build the bundle that MODEL_YAML describes.

    Runs the model and data functions that MODEL_YAML names: build only what you trust.
    """
    from pamc.config import load_spec, overridden

    formats = None if emit is None else tuple(name.strip() for name in emit.split(","))
    spec = overridden(load_spec(model_yaml), quantize, formats, effort)

    from pamc.build import BuildOptions, build
    from pamc.bundle import to_json

    options = BuildOptions(
        target=target,
        out=out or Path("build") / spec.name,
        stop_after=stop_after,
        dry_run=dry_run,
        force=force,
        costs=costs,
        cache_dir=cache_dir,
        jobs=jobs,
    )
    from pamc_bench.reporter import LocalReporter
    from pamc_bench.terminal import render_terminal

    result = build(spec, options, make_progress(), LocalReporter(max_seconds=0 if no_latency else 5, seed=spec.seed))
    if result.view is not None and as_json:
        print_json(result.view.data)
    elif result.view is not None:
        click.echo(result.view.text)
    elif result.manifest is not None and as_json:
        click.echo(to_json(result.manifest), nl=False)
    elif result.manifest is not None:
        width = get_terminal_size((100, 24)).columns
        click.echo(render_terminal(result.manifest, width=max(80, width), color=sys.stdout.isatty()))
        click.echo(f"{result.path}: the bundle; {result.path}/report.html: the report")
