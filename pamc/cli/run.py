"""`pamc run`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pamc.cli.common import bundle_argument, json_option, output_options, print_json
from pamc.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["command"]


@click.command("run")
@bundle_argument
@click.argument("input_npy", type=click.Path(path_type=Path))
@click.option("--tasks", required=True, metavar="A,B", help="Tasks to run, such as age,smile.")
@click.option("--format", metavar="FORMAT", help="Networks to run, such as tflite.  [default: the bundle's first]")
@click.option("--device", "url", metavar="URL", help="Run there what `pamc deploy` brought there.")
@json_option
@output_options
def command(bundle: Path, input_npy: Path, tasks: str, format: str | None, url: str | None, as_json: bool) -> None:
    """Run tasks of BUNDLE on INPUT_NPY, a .npy file with one sample or a batch."""
    if url is not None and format is not None:
        raise click.UsageError("--format and --device exclude each other: a device runs the format that was deployed")
    names = [name.strip() for name in tasks.replace("+", ",").split(",")]
    sample = _read_array(input_npy)
    if url is not None:
        from pamc.cli.run_there import run_there

        _show(run_there(url, bundle, names, sample, str(input_npy)), as_json)
        return

    from pamc import load

    runtime = load(bundle, format=format)
    # First, so that an error of what follows is one of the input.
    runtime.session(names)
    try:
        outputs = runtime.run(sample, tasks=names)
    except ConfigError as error:
        cure = error.cure or "save an array of that shape with numpy.save"
        raise ConfigError(error.what, where=str(input_npy), cure=cure) from None
    _show(outputs, as_json)


def _show(outputs: "Mapping[str, np.ndarray[Any, Any]]", as_json: bool) -> None:
    if as_json:
        print_json({name: value.tolist() for name, value in outputs.items()})
    else:
        for name, value in outputs.items():
            click.echo(f"{name}: {value.tolist()}")


def _read_array(path: Path) -> "np.ndarray[Any, Any]":
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=str(path), cure="save one with numpy.save") from None
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).split("\n", 1)[0]
        # NumPy would advise to allow pickles.
        why = None if "pickle" in reason else reason
        cure = "save an array of numbers with numpy.save"
        raise ConfigError("is not a .npy file with numbers", where=str(path), why=why, cure=cure) from None
    if not isinstance(array, np.ndarray):
        raise ConfigError("holds several arrays", where=str(path), cure="save one array with numpy.save") from None
    return array
