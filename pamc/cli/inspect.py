"""`pamc inspect`."""

from pathlib import Path

import click

from pamc.cli.common import bundle_argument, json_option, output_options, print_json

__all__ = ["command"]


@click.command("inspect")
@bundle_argument
@click.option("--plan", "task_set", metavar="SET", help="Show the plan of one task set, such as age+smile.")
@click.option("--owners", is_flag=True, help="Draw which task owns which units, layer by layer.")
@click.option(
    "--redundancy", is_flag=True, help="Show how far the network is from what pruning could reach for every task set."
)
@json_option
@output_options
def command(bundle: Path, task_set: str | None, owners: bool, redundancy: bool, as_json: bool) -> None:
    """Show the layers, the owners of their units, and the cost of every task set in BUNDLE."""
    if (task_set is not None) + owners + redundancy > 1:
        raise click.UsageError("--plan, --owners and --redundancy exclude each other")

    from pamc.bundle import open_bundle

    # Before the import of torch: a wrong path is answered at once.
    opened = open_bundle(bundle)

    from pamc.inspection import inspect_bundle, inspect_owners, inspect_plan, inspect_redundancy

    if redundancy:
        view = inspect_redundancy(opened)
    elif owners:
        view = inspect_owners(opened)
    else:
        view = inspect_bundle(opened) if task_set is None else inspect_plan(opened, task_set)
    if as_json:
        print_json(view.data)
    else:
        click.echo(view.text)
