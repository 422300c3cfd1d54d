"""The stage cache: results of a build's stages by the content of what they read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from pamc.errors import InternalError

__all__ = ["StageCache", "cache_root"]

_MAGIC = b"pamc-cache-1 "
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def cache_root() -> Path:
    """Folder of the cache: ``PAMC_CACHE`` where that is set, else the user's cache folder."""
    if chosen := os.environ.get("PAMC_CACHE"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("pamc")


def _pack(files: Mapping[str, bytes]) -> bytes:
    index = json.dumps({name: len(files[name]) for name in sorted(files)}).encode()
    body = b"\n".join([index, b"".join(files[name] for name in sorted(files))])
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _unpack(data: bytes) -> dict[str, bytes] | None:
    head, _, body = data.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(body).hexdigest().encode():
        return None
    index, _, payload = body.partition(b"\n")
    files, start = {}, 0
    for name, size in json.loads(index).items():
        files[name] = payload[start : start + size]
        start += size
    return files


class StageCache:
    """Entries in the folder ``root``, each one file that holds its own sha256.

    A cache may lose anything at any time: damaged entries count as absent and are removed, and a folder that cannot
    be written makes a build slower, not fail.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_root() if root is None else root

    def _path(self, stage: str, key: str, suffix: str) -> Path:
        if not (_PLAIN.fullmatch(stage) and _PLAIN.fullmatch(key)):
            raise InternalError(f"bad cache entry {stage!r}, {key!r}")
        return self.root / stage / f"{key}{suffix}"

    def get(self, stage: str, key: str) -> dict[str, bytes] | None:
        """The files that were put under ``key``, or None."""
        path = self._path(stage, key, ".entry")
        try:
            files = _unpack(path.read_bytes())
        except OSError:
            return None
        if files is None:
            with suppress(OSError):
                path.unlink()
        return files

    def put(self, stage: str, key: str, files: Mapping[str, bytes]) -> bool:
        """Keep ``files`` under ``key``, all or nothing; False when the folder cannot be written."""
        path = self._path(stage, key, ".entry")
        temporary: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
                temporary = Path(file.name)
                file.write(_pack(files))
            temporary.replace(path)
        except BaseException as error:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()
            if isinstance(error, OSError):
                return False
            raise
        return True

    @contextmanager
    def lock(self, stage: str, key: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold one entry, so that a second build waits for its result instead of computing it too.

        ``on_wait`` is called once when there is somebody to wait for. Without a writable folder nothing is held.
        """
        from filelock import FileLock, Timeout

        path = self._path(stage, key, ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(path)
            try:
                held.acquire(timeout=0)
            except Timeout:
                on_wait()
                held.acquire()
        except OSError:
            yield
            return
        try:
            yield
        finally:
            held.release()
