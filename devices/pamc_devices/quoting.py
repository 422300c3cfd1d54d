"""Makes the one line of text by which a POSIX shell on a device runs a script with any arguments.

The line does not go onto a command line, where 64 KiB is the limit of adb and 128 KiB that of Linux for one word, and
where the user's login shell (fish, csh) would read it by rules of its own. There stands only BOOTSTRAP, the same for
every command; it reads the line from stdin and hands it to `sh`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from pamc.errors import ConfigError

__all__ = ["BOOTSTRAP", "command_line", "program"]

BOOTSTRAP = "exec sh -c 'IFS= read -r line; eval \"$line\"'"
"""Any shell's command that evaluates one line of stdin in `sh` and leaves the rest of stdin to it."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def command_line(script: str, words: Sequence[str] = (), settings: Mapping[str, str] | None = None) -> bytes:
    """The line that runs ``script`` with ``words`` as "$@" and ``settings`` as its variables; ends with a newline.

    Words may hold anything but NUL; text that is no valid Unicode stands for bytes, as in `os.fsdecode`. Raises
    ConfigError for NUL and for a setting whose name is no shell variable's.
    """
    assignments = [f"{_checked_name(name)}={_quoted(value)}" for name, value in (settings or {}).items()]
    text = "\n".join([*assignments, f"set -- {' '.join(map(_quoted, words))}", script])
    # `read` ends at a newline, so inside the quotes each one is replaced by a variable that holds it.
    body = _quoted(text).replace("\n", "'\"$newline\"'")
    line = f"newline=$(echo; echo x); newline=${{newline%x}}; eval {body}\n"
    return os.fsencode(line)


def program(argv: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """The words that run ``argv`` with ``env`` added to the environment.

    The shell in between tells a file for another processor from a script, which the C library's search would not.
    Raises ConfigError when ``argv`` names no program.
    """
    if not argv or not argv[0] or argv[0].startswith("-"):
        raise ConfigError(f"{list(argv[:1])} names no program to run on the device")
    exports = "".join(f"export {_checked_name(name)}={_quoted(value)}; " for name, value in env.items())
    return ("sh", "-c", f'{exports}exec "$@"', "sh", *argv)


def _quoted(word: str) -> str:
    if "\0" in word:
        raise ConfigError(f"{word[:40]!r} holds a NUL, which no command line can", cure="use another name")
    return "'" + word.replace("'", "'\\''") + "'"


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of an environment variable", cure="use letters, digits and _")
    return name
