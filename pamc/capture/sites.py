"""Where in the user's code something comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from traceback import extract_tb

import torch
from torch import fx

import pamc
from pamc.capture.translation import Site
from pamc.graph import Origin

__all__ = ["location_of", "site_of"]

FRAME = re.compile(r'File "(.+?)", line (\d+)')
OURS = tuple(Path(str(module.__file__)).resolve().parent for module in (torch, pamc))


def _is_user(file: str) -> bool:
    path = Path(file)
    return path.suffix == ".py" and not any(folder in path.parents for folder in OURS)


def _shown(file: str, line: int | str | None, root: Path | None) -> str:
    path = Path(file)
    if root is not None and path.is_relative_to(root.resolve()):
        path = path.relative_to(root.resolve())
    elif "site-packages" in path.parts:
        # The part that does not depend on the machine.
        path = Path(*path.parts[path.parts.index("site-packages") + 1 :])
    return path.as_posix() + (f":{line}" if line is not None else "")


def _last(frames: Sequence[tuple[str, int | str | None]], root: Path | None) -> str:
    mine = [(file, line) for file, line in frames if _is_user(file)]
    return _shown(*mine[-1], root) if mine else ""


def location_of(error: BaseException, root: Path | None) -> str:
    """``file:line`` of the deepest frame outside torch and pamc; empty when there is none."""
    return _last([(frame.filename, frame.lineno) for frame in extract_tb(error.__traceback__)], root)


def site_of(node: fx.Node, root: Path | None) -> Site:
    """Module path and ``file:line`` of an exported call."""
    stack = node.meta.get("nn_module_stack") or {}
    path, kind = next(reversed(stack.values()), ("", ""))
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    location = _last(FRAME.findall(node.meta.get("stack_trace") or ""), root)
    return Site(Origin(path, location), name.startswith("torch.nn."))
