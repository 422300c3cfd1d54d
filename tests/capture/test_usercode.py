"""The user's functions: found, imported, called; what goes wrong names their line."""

import sys
from pathlib import Path

import pytest

from pamc.errors import ConfigError, UserCodeError
from pamc.usercode import call, load_function


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_function_with_a_helper_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "code/helper.py", "FACTOR = 3\n")
    write(tmp_path, "code/nets.py", "from helper import FACTOR\ndef make(x, by=1):\n    return x * by * FACTOR\n")
    function = load_function("code/nets.py:make", tmp_path)
    assert call(function, 2, what="the function", by=5) == 30
    assert str(tmp_path / "code") not in sys.path


def test_helpers_of_two_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "helper.py", f"NAME = {name!r}\n")
        write(tmp_path / name, "nets.py", "from helper import NAME\ndef name():\n    return NAME\n")
    assert [load_function("nets.py:name", tmp_path / name)() for name in ("one", "two")] == ["one", "two"]


def test_late_import_of_a_helper(tmp_path: Path) -> None:
    write(tmp_path, "late.py", "VALUE = 7\n")
    write(tmp_path, "nets.py", "def make():\n    from late import VALUE\n    return VALUE\n")
    assert call(load_function("nets.py:make", tmp_path), what="f") == 7


def test_file_is_imported_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = write(tmp_path, "nets.py", "class Net: pass\ndef make(): return Net\n")
    first = load_function("nets.py:make", tmp_path)()
    assert load_function("nets.py:make", tmp_path)() is first
    path.write_text("class Net: pass\ndef make(): return 4\n")
    assert load_function("nets.py:make", tmp_path)() == 4


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nets.py", "does not name a function"),
        ("nets.py:", "does not name a function"),
        ("nets:make", "does not name a function"),
        ("../nets.py:make", "lies outside"),
        ("/etc/nets.py:make", "lies outside"),
        ("nest.py:make", "did you mean 'nets.py'?"),
        ("nets.py:mak", "did you mean 'make'?"),
        ("nets.py:VALUE", "is not a function"),
    ],
)
def test_wrong_references(tmp_path: Path, reference: str, words: str) -> None:
    root = tmp_path / "root"
    write(root, "nets.py", "VALUE = 1\ndef make(): pass\n")
    write(tmp_path, "nets.py", "def make(): pass\n")
    with pytest.raises(UserCodeError) as caught:
        load_function(reference, root)
    assert words in str(caught.value) and caught.value.cure


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("x = 1\ny = x / 0\ndef make(): pass\n", 2, "ZeroDivisionError"),
        ("def make(:\n", 1, "SyntaxError"),
        ("import json\nimport not_there\n", 2, "ModuleNotFoundError"),
        ("import sys\n\nsys.exit(3)\n", 3, "SystemExit"),
    ],
)
def test_import_that_raises(tmp_path: Path, text: str, line: int, why: str) -> None:
    path = write(tmp_path, "nets.py", text)
    with pytest.raises(UserCodeError) as caught:
        load_function("nets.py:make", tmp_path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert why in str(caught.value.why)
    assert not [name for name in sys.modules if name.startswith("_pamc_user") and name.endswith("_broken")]


def test_call_that_raises_names_the_users_line(tmp_path: Path) -> None:
    path = write(tmp_path, "nets.py", "import json\ndef make(text):\n    return json.loads(text)\n")
    function = load_function("nets.py:make", tmp_path)
    with pytest.raises(UserCodeError) as caught:
        call(function, "{", what="the model function 'make'")
    assert (caught.value.file, caught.value.line) == (str(path), 3)
    assert "the model function 'make' raised" in caught.value.what
    with pytest.raises(UserCodeError, match="raised"):
        call(function, what="f", wrong=1)


def test_errors_of_pamc_pass_through(tmp_path: Path) -> None:
    text = "from pamc.errors import ConfigError\ndef make():\n    raise ConfigError('as it is')\n"
    write(tmp_path, "nets.py", text)
    with pytest.raises(ConfigError, match="as it is"):
        call(load_function("nets.py:make", tmp_path), what="f")


def test_ctrl_c_passes_through(tmp_path: Path) -> None:
    write(tmp_path, "nets.py", "def make():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        call(load_function("nets.py:make", tmp_path), what="f")
