"""Writing a bundle: beside its place, and renamed when it is complete. There is never half a bundle."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from pamc.bundle.manifest import MANIFEST, FileEntry, Manifest, to_json
from pamc.errors import InternalError, OutputError

__all__ = ["BundleWriter", "check_out", "file_entry", "reporting"]

# What a full, read-only, forbidden or broken disk answers; other OSErrors are not about the output.
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENAMETOOLONG}
)
_CHUNK = 1 << 20


def file_entry(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(digest.hexdigest(), size)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        "the output cannot be written",
        where=str(error.filename or path),
        why=error.strerror or str(error),
        cure="free some space or choose another output folder",
    )


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError about ``path``."""
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _is_bundle(path: Path) -> bool:
    try:
        data = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and {"schema_version", "task_sets"} <= set(data)


def check_out(out: Path, *, make_parent: bool = False) -> Path:
    """The real path that a bundle for ``out`` would be written to; writes nothing.

    Raises OutputError when the place is taken by something that is not a bundle or an empty folder, or when its
    parent folder is missing (with ``make_parent``: the parent's parent) or not writable.
    """
    target = Path(os.path.realpath(out))
    with reporting(target):
        if target.is_dir():
            if any(target.iterdir()) and not _is_bundle(target):
                raise OutputError(
                    "the output folder holds something that is not a bundle",
                    where=str(target),
                    why="it would be lost",
                    cure="choose another output folder, or remove this one yourself",
                )
        elif target.exists():
            raise OutputError("the output folder is a file", where=str(target), cure="choose another output folder")
        parent = target.parent
        if make_parent and not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise OutputError(
                "the folder to write into does not exist", where=str(parent), cure="create it, or choose another one"
            )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            "the folder to write into is not writable", where=str(parent), cure="choose another output folder"
        )
    return target


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(process) != os.getpid()


class BundleWriter:
    """Collects the files of a bundle: ``with BundleWriter(out) as writer: ...; writer.commit(manifest)``.

    Leaving the block without :meth:`commit`, or by any exception, removes everything that was written and leaves an
    older bundle as it was. Raises OutputError as :func:`check_out` does, and when the disk is full or read-only.
    """

    def __init__(self, out: Path | str, *, make_parent: bool = False) -> None:
        self.target = check_out(Path(out), make_parent=make_parent)
        self.root = self.target.with_name(f"{self.target.name}.partial-{os.getpid()}")
        self._made_parent = False
        self._done = False

    def __enter__(self) -> Self:
        with reporting(self.root):
            if not self.target.parent.exists():
                self.target.parent.mkdir()
                self._made_parent = True
            self._remove_leftovers()
            self.root.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            shutil.rmtree(self.root, ignore_errors=True)
            if self._made_parent:
                with suppress(OSError):  # somebody else may use the folder by now
                    self.target.parent.rmdir()
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise _cannot_write(self.target, error) from error

    def _remove_leftovers(self) -> None:
        # A killed build could not clean up after itself.
        prefix = f"{self.target.name}.partial-"
        for path in self.target.parent.iterdir():
            if path.name.startswith(prefix) and not _alive(path.name.removeprefix(prefix)):
                shutil.rmtree(path, ignore_errors=True)

    def path(self, relative: str) -> Path:
        """Where to write the file ``relative`` (with ``/``); its folder exists."""
        parts = PurePosixPath(relative).parts
        if not parts or relative.startswith("/") or ".." in parts or "\\" in relative:
            raise InternalError(f"a bundle cannot hold a file called {relative!r}")
        path = self.root.joinpath(*parts)
        with reporting(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_bytes(self, relative: str, data: bytes) -> Path:
        """Write one file."""
        path = self.path(relative)
        with reporting(path):
            path.write_bytes(data)
        return path

    def write_text(self, relative: str, text: str) -> Path:
        """Write one text file in UTF-8 with the line ends that ``text`` has."""
        return self.write_bytes(relative, text.encode("utf-8"))

    def file_entries(self) -> dict[str, FileEntry]:
        """Size and sha256 of everything written so far but the manifest, by relative path, sorted."""
        with reporting(self.root):
            found = sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
            return {name: file_entry(self.root / name) for name in found if name != MANIFEST}

    def commit(self, manifest: Manifest) -> Path:
        """Write the manifest with the files' hashes, put the bundle in its place, and return that place."""
        if self._done:
            raise InternalError(f"the bundle {self.target} was written before")
        self.write_text(MANIFEST, to_json(replace(manifest, files=self.file_entries())))
        aside = self.target.with_name(f"{self.target.name}.old-{os.getpid()}")
        with reporting(self.target):
            check_out(self.target)
            shutil.rmtree(aside, ignore_errors=True)
            exists = self.target.exists()
            try:
                if exists:
                    self.target.rename(aside)
                self.root.rename(self.target)
            except BaseException:
                if exists and aside.exists() and not self.target.exists():
                    aside.rename(self.target)
                raise
        self._done = True
        shutil.rmtree(aside, ignore_errors=True)
        return self.target
