"""`pamc check`."""

from pathlib import Path

import click

from pamc.cli.common import json_option, output_options, print_json, spec_argument

__all__ = ["command"]


@click.command("check")
@spec_argument
@json_option
@output_options
def command(model_yaml: Path, as_json: bool) -> None:
    """Say everything that is wrong with MODEL_YAML, its networks and its weights.

    Runs the model and data functions that MODEL_YAML names.
    """
    from pamc.config import load_spec

    spec = load_spec(model_yaml)

    from pamc.build import check

    report = check(spec)
    if as_json:
        print_json(report.as_dict())
    else:
        click.echo(report.render(), nl=False)
    error = report.error()
    click.get_current_context().exit(0 if error is None else error.exit_code)
