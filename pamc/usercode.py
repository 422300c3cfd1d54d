"""The user's own Python functions: found by ``file.py:function``, imported by path, their exceptions made readable."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pamc.errors import PamcError, UserCodeError
from pamc.registry import did_you_mean

__all__ = ["call", "load_function", "sources"]

# Modules of the user's folders that an import brought in, and the folder of each.
_helpers: dict[str, Path] = {}
_loaded: dict[Path, tuple[bytes, ModuleType]] = {}


def load_function(reference: str, root: Path) -> Callable[..., Any]:
    """The function that ``file.py:function`` names; the file lies in ``root`` or below it.

    The file's folder is importable while it is imported. A file that did not change is imported once. Raises
    UserCodeError when the file or the function does not exist, or when the import raises.
    """
    text, _, name = reference.rpartition(":")
    if not text.endswith(".py") or not name.isidentifier():
        raise UserCodeError(f"{reference!r} does not name a function", cure='write it as "file.py:function"')
    folder = root.resolve()
    path = (folder / text).resolve()
    if not path.is_relative_to(folder):
        raise UserCodeError(f"{text} lies outside of {folder}", cure="keep the code beside or below model.yaml")
    if not path.is_file():
        near = did_you_mean(path.name, [item.name for item in path.parent.glob("*.py")])
        raise UserCodeError(f"there is no file {path}{near}", cure="correct the path in model.yaml")
    module = _import(path)
    function = getattr(module, name, None)
    if function is None:
        near = did_you_mean(name, [key for key, item in vars(module).items() if callable(item) and key[:1] != "_"])
        raise UserCodeError(f"it has no function '{name}'{near}", file=str(path), cure="correct the name in model.yaml")
    if not callable(function):
        raise UserCodeError(f"'{name}' is not a function", file=str(path), cure="name a function or a class")
    chosen: Callable[..., Any] = function
    return chosen


def call(function: Callable[..., Any], *args: Any, what: str, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``; its exceptions become UserCodeError at the user's file:line.

    ``what`` says whose function it is, for messages: ``"the data function 'train'"``.
    """
    file = _file_of(function)
    try:
        with _importable(file.parent):
            return function(*args, **kwargs)
    except PamcError:
        raise
    except (Exception, SystemExit) as error:
        # No frame below this one: the call itself did not fit.
        misfit = isinstance(error, TypeError) and error.__traceback__ is not None and not error.__traceback__.tb_next
        cure = "correct the function, or the `args` that model.yaml gives it" if misfit else "correct the function"
        raise UserCodeError.raised(f"{what} raised", error, file=file, cure=cure) from error


def sources(folder: Path) -> tuple[Path, ...]:
    """The code that functions of ``folder`` are made of: the files in it, and what they imported from below it."""
    folder = folder.resolve()
    imported = (getattr(sys.modules[name], "__file__", None) for name, home in _helpers.items() if home == folder)
    return tuple(sorted({*folder.glob("*.py"), *(Path(file) for file in imported if file)}))


def _file_of(function: Callable[..., Any]) -> Path:
    module = sys.modules.get(getattr(function, "__module__", None) or type(function).__module__)
    return Path(getattr(module, "__file__", None) or __file__)


def _import(path: Path) -> ModuleType:
    content = path.read_bytes()
    known = _loaded.get(path)
    if known is not None and known[0] == content:
        return known[1]
    name = f"_pamc_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, PamcError):
            raise
        raise UserCodeError.raised(f"{path.name} cannot be imported", error, file=path, cure="correct it") from error
    _loaded[path] = (content, module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """``folder`` leads sys.path; helpers of another folder that would answer to the same names are forgotten."""
    for name in [name for name, home in _helpers.items() if home != folder]:
        del _helpers[name]
        sys.modules.pop(name, None)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            path = Path(getattr(sys.modules[name], "__file__", None) or "/")
            # A virtual environment may lie in the folder; what is installed there is no helper of the user's.
            mine = folder in path.parents and "site-packages" not in path.parts
            if mine and not name.startswith("_pamc_user_"):
                _helpers[name] = folder
