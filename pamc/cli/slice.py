"""`pamc slice`."""

from pathlib import Path

import click

from pamc.cli.common import bundle_argument, json_option, output_options

__all__ = ["command"]


@click.command("slice")
@bundle_argument
@click.option("--tasks", metavar="A,B", help="Keep what was emitted for these tasks alone, such as age,smile.")
@click.option("--task-sets", metavar="A,A+B", help="Keep just these task sets, such as age,age+smile.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@json_option
@output_options
def command(bundle: Path, tasks: str | None, task_sets: str | None, out: Path, as_json: bool) -> None:
    """Write a bundle with only some task sets of BUNDLE.

    A device that never asks for the others need not hold them.
    """
    if tasks is None and task_sets is None:
        raise click.UsageError("name --tasks or --task-sets")

    from pamc.bundle import open_bundle, to_json

    opened = open_bundle(bundle)

    from pamc.slicing import chosen_sets, slice_bundle
    from pamc_bench.reporter import LocalReporter

    kept = chosen_sets(opened, _listed((tasks or "").replace("+", ",")), _listed(task_sets or ""))
    path = slice_bundle(opened, kept, out, LocalReporter())
    manifest = open_bundle(path).manifest
    if as_json:
        click.echo(to_json(manifest), nl=False)
        return
    for name in open_bundle(path).formats:
        files = {file: entry.bytes for file, entry in manifest.files.items() if file.startswith(f"{name}/")}
        click.echo(f"{name}: {', '.join(kept)} in {len(files)} files, {sum(files.values()):,} bytes")
    click.echo(f"{path}: the bundle")


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
