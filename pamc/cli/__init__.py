"""The command line: `pamc COMMAND`. A command's module is imported only when the command is called."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from pamc import __version__
from pamc.cli.failures import EXIT_PIPE_CLOSED, exit_code_of

__all__ = ["cli", "invoke", "main"]

COMMANDS = {
    "bench": "Measure how fast task sets run, here and on devices; compare results.",
    "build": "Merge, prune, export and verify; writes a bundle.",
    "calibrate": "Measure what operations take, here or on a device, for faster plans.",
    "check": "Say everything that is wrong with a model.yaml and its networks.",
    "deploy": "Bring a bundle to a device, prove it there and switch to it.",
    "devices": "Find, describe and check devices that run bundles.",
    "inspect": "Show what is in a bundle: layers, owners, costs per task set.",
    "report": "Write the report of a bundle, with what was measured on devices.",
    "run": "Run tasks of a bundle on an input.",
    "slice": "Write a bundle with only some task sets of another one.",
    "schema": "Print the JSON schema of model.yaml.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"pamc.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from pamc.registry import did_you_mean

            ctx.fail(f"no such command '{args[0]}'{did_you_mean(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            ctx.exit(EXIT_PIPE_CLOSED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table: asking each command for its help would import them all.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pamc", message="%(prog)s %(version)s")
def cli() -> None:
    """Compile several single-task networks into one multitask network.

    The result can run any subset of its tasks, at the cost of just that subset.
    """


def invoke(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every error is reported here."""
    try:
        result = cli.main(args=None if args is None else list(args), prog_name="pamc", standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        return exit_code_of(error)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The `pamc` script."""
    # Threads that spin while they wait make training several times slower where another process wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = invoke()
    try:
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more: keep the interpreter from flushing again on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
