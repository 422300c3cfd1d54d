"""Turns whatever ends a command into one message on stderr and an exit code."""

import errno
import traceback

import click

from pamc.cli.common import verbosity
from pamc.errors import EXIT_INTERRUPTED, InternalError, OutputError, PamcError

__all__ = ["EXIT_PIPE_CLOSED", "exit_code_of"]

# As shells report a program that SIGPIPE ended, such as `pamc inspect ... | head`.
EXIT_PIPE_CLOSED = 141

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def exit_code_of(error: BaseException) -> int:
    """Report `error` on stderr and return the exit code for it."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("interrupted; run the same command again to resume", err=True)
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return EXIT_PIPE_CLOSED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, PamcError):
        text, code = str(error), error.exit_code
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        text, code = str(OutputError(f"cannot write: {error.strerror}", where=error.filename)), OutputError.exit_code
    else:
        detail = " ".join(str(error).split())
        shown = f"{type(error).__name__}: {detail[:300]}" if detail else type(error).__name__
        text = f"internal error ({shown}): please report it; run with -vv for the traceback"
        code = InternalError.exit_code
    if verbosity() >= 2:
        click.echo("".join(traceback.format_exception(error)), err=True)
    click.echo(text, err=True)
    return code
