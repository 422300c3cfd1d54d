"""Folders of pamc's cache that are made once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

__all__ = ["cache_folder", "content_key", "made_once"]


def cache_folder() -> Path:
    """Folder of pamc's cache: ``PAMC_CACHE`` where that is set, else the user's cache folder."""
    if chosen := os.environ.get("PAMC_CACHE"):
        return Path(chosen).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("pamc")


def content_key(*parts: object) -> str:
    """Sixteen hexadecimal digits that stand for ``parts``, which must be JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def made_once(kind: str, name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The cache's folder ``kind/name-key``, filled by ``make`` when it is not there yet.

    ``make`` gets an empty folder beside it, which is renamed when ``make`` returns; processes that ask at the same time
    wait for the first. A folder that a killed process left unfinished is removed.
    """
    target = cache_folder() / kind / f"{name}-{key}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f"{target.name}.lock")):
        if target.is_dir():
            return target
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target
