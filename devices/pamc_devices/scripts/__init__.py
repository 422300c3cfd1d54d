"""Shell scripts that run on devices. They need a POSIX shell and a few tools that every board and phone has."""

from functools import cache
from importlib.resources import files

__all__ = ["script"]


@cache
def script(name: str) -> str:
    """The text of a script of this folder."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
