"""`pamc build`."""

from pathlib import Path

import click

from pamc.cli.common import json_option, make_progress, output_options, print_json, spec_argument

__all__ = ["command"]

TARGETS = ("arm64", "armv7", "x86_64", "android-arm64")
STAGES = ("capture", "align", "merge", "prune", "lower", "export")


@click.command("build")
@spec_argument
@click.option("--target", type=click.Choice(TARGETS), default="arm64", show_default=True, help="Machine to build for.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle.  [default: build/NAME]")
@click.option("--stop-after", type=click.Choice(STAGES), help="End after this stage; no bundle is written.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done and what it would cost.")
@click.option("--force", is_flag=True, help="Build every stage anew, whatever the cache holds.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Folder of the stage cache.")
@json_option
@output_options
def command(
    model_yaml: Path,
    target: str,
    out: Path | None,
    stop_after: str | None,
    dry_run: bool,
    force: bool,
    cache_dir: Path | None,
    as_json: bool,
) -> None:
    """Build the bundle that MODEL_YAML describes.

    Runs the model and data functions that MODEL_YAML names: build only what you trust.
    """
    from pamc.config import load_spec

    spec = load_spec(model_yaml)

    from pamc.build import BuildOptions, build

    options = BuildOptions(
        target=target,
        out=out or Path("build") / spec.name,
        stop_after=stop_after,
        dry_run=dry_run,
        force=force,
        cache_dir=cache_dir,
    )
    result = build(spec, options, make_progress())
    if as_json:
        print_json(result.to_json())
    else:
        click.echo(result.text())
