"""`pamc schema`."""

import click

from pamc.cli.common import output_options, print_json

__all__ = ["command"]


@click.command("schema")
@output_options
def command() -> None:
    """Print the JSON schema of model.yaml, for completion and checks in an editor.

    Save it and name it in the first line of model.yaml:
    # yaml-language-server: $schema=pamc-schema.json
    """
    from pamc.config import schema

    print_json(schema())
