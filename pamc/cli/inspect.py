"""`pamc inspect`."""

from pathlib import Path

import click

from pamc.cli.common import bundle_argument, json_option, output_options, print_json

__all__ = ["command"]


@click.command("inspect")
@bundle_argument
@click.option("--plan", "task_set", metavar="SET", help="Show the plan of one task set, such as age+smile.")
@json_option
@output_options
def command(bundle: Path, task_set: str | None, as_json: bool) -> None:
    """Show the layers, the owners of their units, and the cost of every task set in BUNDLE."""
    from pamc import load

    view = load(bundle).describe(task_set)
    if as_json:
        print_json(view.to_json())
    else:
        click.echo(view.text())
