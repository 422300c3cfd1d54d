"""Messages, exit codes, and that errors survive a trip between processes."""

import copy
from pathlib import Path

import pytest

from pamc import errors
from pamc.errors import ConfigError, Finding, PamcError, Problem, UnsupportedModelError, UserCodeError


def test_message_says_what_where_why_and_cure() -> None:
    error = PamcError("it broke", where="a.py:3", why="too hot", cure="cool it")
    assert str(error) == "a.py:3: it broke\n  why: too hot\n  cure: cool it"
    assert str(PamcError("it broke")) == "it broke"


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__ if name.endswith("Error")}
    assert codes == {
        "PamcError": 70,
        "ConfigError": 2,
        "UserCodeError": 2,
        "WeightsError": 2,
        "UnsupportedModelError": 3,
        "VerificationError": 4,
        "DeviceError": 5,
        "GoalMissedError": 6,
        "InternalError": 70,
        "OutputError": 74,
    }
    assert errors.__doc__ is not None
    for name, code in codes.items():
        if name != "PamcError":
            assert name in errors.__doc__
            assert f"\n{code} " in errors.__doc__


def test_config_error_shows_every_problem() -> None:
    error = ConfigError.many([Problem("one", where="f:1:1"), Problem("two", where="f:2:1", cure="do it")])
    assert str(error) == "f:1:1: one\nf:2:1: two\n  cure: do it"
    assert error.where == "f:1:1"
    assert ConfigError("alone").problems == (Problem("alone"),)


def test_unsupported_model_lists_its_findings() -> None:
    finding = Finding("tone", "aten.fft", "layer1.0", "nets.py:12", "no kernel", "use a convolution")
    text = str(UnsupportedModelError("1 part cannot be compiled", findings=[finding]))
    assert "1 part cannot be compiled" in text
    assert "nets.py:12: tone: aten.fft in layer1.0\n  why: no kernel\n  cure: use a convolution" in text


def test_user_code_error_points_at_the_users_line_not_at_the_library(tmp_path: Path) -> None:
    file = tmp_path / "data.py"
    file.write_text("import json\n\ndef train():\n    return json.loads('{')\n")
    scope: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)  # noqa: S102 - stands for the user's module
    with pytest.raises(ValueError, match="Expecting") as caught:
        scope["train"]()  # type: ignore[operator]
    error = UserCodeError.raised("the function train failed", caught.value, file=file)
    assert (error.file, error.line) == (str(file), 4)
    assert str(error).startswith(f"{file}:4: the function train failed\n  why: JSONDecodeError: ")


def test_user_code_error_of_a_syntax_error_points_at_it(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\ndef f(:\n", str(file), "exec")
    assert UserCodeError.raised("cannot be imported", caught.value, file=file).where == f"{file}:2"


@pytest.mark.parametrize(
    "error",
    [
        ConfigError.many([Problem("one"), Problem("two")]),
        UserCodeError("bad", file="a.py", line=3),
        UnsupportedModelError("bad", findings=[Finding("n", "o", "m", "l", "w", "c")], cure="none"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_everything_between_processes(error: PamcError) -> None:
    # copy goes through __reduce__ as the transport between processes does.
    twin = copy.copy(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
