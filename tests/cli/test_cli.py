"""The command line as a user meets it: in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest

from pamc import __version__
from pamc.cli import COMMANDS, cli
from pamc.cli.common import check_writable
from pamc.cli.failures import exit_code_of
from pamc.errors import ConfigError, OutputError, VerificationError

PAMC = (sys.executable, "-m", "pamc")


def pamc(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PAMC, *map(str, args)], capture_output=True, text=True, timeout=120, cwd=cwd, check=False)


def test_help_answers_in_under_three_tenths_of_a_second() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([*PAMC, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3, times


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pydantic", "onnx", "rich", "ruamel.yaml")
    code = (
        "import sys; from pamc.cli import invoke; invoke(['--help']); "
        f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_every_command_loads_and_has_help() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None and command.name == name
        assert command.help
        assert name in pamc("--help").stdout


def test_version() -> None:
    assert pamc("--version").stdout == f"pamc {__version__}\n"


def test_unknown_command_suggests_the_nearest() -> None:
    done = pamc("biuld", "model.yaml")
    assert done.returncode == 2
    assert "no such command 'biuld', did you mean 'build'?" in done.stderr
    assert done.stdout == ""


def test_unknown_option_is_a_usage_error() -> None:
    done = pamc("build", "model.yaml", "--taget", "arm64")
    assert done.returncode == 2
    assert "--target" in done.stderr


def test_verbose_and_quiet_exclude_each_other() -> None:
    done = pamc("schema", "-v", "-q")
    assert done.returncode == 2
    assert "exclude each other" in done.stderr


def test_schema_is_one_json_document_on_stdout() -> None:
    done = pamc("schema")
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"name", "tasks", "data"} <= set(schema["required"])


@pytest.mark.parametrize("command", ["build", "check"])
def test_a_wrong_model_yaml_ends_with_its_problems_and_nothing_written(tmp_path: Path, command: str) -> None:
    (tmp_path / "model.yaml").write_text("name: kit\nnames: kit\n")
    done = pamc(command, "model.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "model.yaml:2:1: unknown key 'names', did you mean 'name'?" in done.stderr
    assert "model.yaml:1:1: the key 'tasks' is missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["model.yaml"]


def test_double_verbose_shows_the_traceback(tmp_path: Path) -> None:
    done = pamc("check", "none.yaml", "-vv", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "\nnone.yaml: there is no such file\n" in done.stderr


def test_run_refuses_what_is_not_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    for name in ("objects.npy", "text.npy", "none.npy"):
        done = pamc("run", "bundle", name, "--tasks", "a", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("bad"), 2, "bad"),
        (VerificationError("differs", where="a.onnx"), 4, "a.onnx: differs"),
        (OutputError("full"), 74, "full"),
        (OSError(28, "No space left on device", "out.bin"), 74, "out.bin: cannot write: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to resume"),
        (click.Abort(), 130, "interrupted; run the same command again to resume"),
        (click.UsageError("no"), 2, "no"),
        (BrokenPipeError(), 141, ""),
        (
            RuntimeError("two\nlines"),
            70,
            "internal error (RuntimeError: two lines): please report it; run with -vv for the traceback",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_exit_code_and_message_of_each_end(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(error) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert shown.err.count("\n") <= 1


def test_a_closed_pipe_is_not_an_error_message() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*PAMC, "schema"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("place", ["/proc/nope/costs.yaml", "/proc/costs.yaml", "{folder}", "{folder}/none/costs.yaml"])
def test_a_file_that_cannot_be_made_is_refused_by_anybody(place: str, tmp_path: Path) -> None:
    """Root may write everywhere, so only trying tells that nothing can be made in /proc."""
    path = Path(place.format(folder=tmp_path))
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(path, make_parents=place.startswith("/proc"))


def test_asking_whether_a_file_can_be_written_leaves_it_as_it_is(tmp_path: Path) -> None:
    held = tmp_path / "held.yaml"
    held.write_text("costs")
    for path in (held, tmp_path / "new.yaml"):
        check_writable(path)
    assert held.read_text() == "costs" and [*tmp_path.iterdir()] == [held]
