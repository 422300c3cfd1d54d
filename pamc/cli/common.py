"""Options that several commands share, and how much a command says."""

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pamc.progress import Progress

__all__ = [
    "bundle_argument",
    "check_writable",
    "json_option",
    "make_progress",
    "output_options",
    "print_json",
    "spec_argument",
    "verbosity",
    "write_text",
]

C = TypeVar("C", bound=Callable[..., Any])

_state = {"verbosity": 0}


def verbosity() -> int:
    """-1 with -q, 0, 1 with -v, 2 with -vv."""
    return _state["verbosity"]


def _set_verbose(_ctx: click.Context, _param: click.Parameter, count: int) -> None:
    _state["verbosity"] = max(count, 0)
    if count:
        logging.basicConfig(level=logging.DEBUG if count > 1 else logging.INFO, format="%(name)s: %(message)s")
    else:
        # Deprecations inside torch and its like mean nothing to somebody who builds a model.
        warnings.filterwarnings("ignore")


def _set_quiet(_ctx: click.Context, _param: click.Parameter, quiet: bool) -> None:
    if quiet:
        if verbosity() > 0:
            raise click.UsageError("-v and -q exclude each other")
        _state["verbosity"] = -1


def output_options(command: C) -> C:
    """Add -v and -q."""
    command = click.option(
        "-q", "--quiet", is_flag=True, callback=_set_quiet, expose_value=False, help="Say nothing but the result."
    )(command)
    return click.option(
        "-v", "--verbose", count=True, callback=_set_verbose, expose_value=False, is_eager=True, help="Say more (-vv)."
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
spec_argument = click.argument("model_yaml", type=click.Path(path_type=Path))
bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


def make_progress() -> "Progress":
    """Progress on stderr: bars on a terminal, plain lines elsewhere, nothing with -q."""
    from pamc.progress import QuietProgress

    if verbosity() < 0:
        return QuietProgress()
    if sys.stderr.isatty():
        from pamc.cli.progress import RichProgress

        return RichProgress()
    from pamc.cli.progress import PlainProgress

    return PlainProgress(sys.stderr)


def print_json(value: object) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def check_writable(path: Path, *, make_parents: bool = False) -> None:
    """Refuse, before long work, a file that could not be written after it. Raises OutputError.

    With ``make_parents``, for what makes missing folders, the nearest folder that is there counts.
    """
    from pamc.errors import OutputError

    folder = path.parent
    while make_parents and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir():
        why = "it is a folder"
    elif not folder.is_dir():
        why = f"there is no folder {folder}"
    else:
        try:
            # Asked by trying: root may write everywhere, and yet nothing can be made in /proc or on a read-only disk.
            path.open("ab").close() if path.exists() else TemporaryFile(dir=folder).close()
            return
        except PermissionError:
            why = "this user may not write there"
        except OSError as error:
            why = error.strerror or str(error)
    raise OutputError("the file cannot be written", where=str(path), why=why, cure="name another file")


def write_text(path: Path, text: str, what: str = "file") -> None:
    """Write a file that the user asked for. Raises OutputError, which calls it the ``what``."""
    from pamc.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the {what} cannot be written: {error.strerror}", where=str(path)) from error
