"""Opening a bundle: a folder that somebody else may have written, so nothing in it is trusted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pamc.bundle.manifest import MANIFEST, Manifest, from_json
from pamc.errors import InternalError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamc.graph import MultitaskGraph
    from pamc.lower import Numerics

__all__ = ["GRAPH", "GRAPH_WEIGHTS", "VECTORS", "Bundle", "open_bundle"]

GRAPH = "multitask.json"
GRAPH_WEIGHTS = "multitask.safetensors"
VECTORS = "vectors.safetensors"

_CURE = "copy or build the bundle again"


def _contained(root: Path, relative: str) -> Path:
    """``root/relative``; OutputError when that is not inside ``root``."""
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or "\\" in relative or "\0" in relative:
        raise OutputError(f"the bundle names a path outside of itself: {relative!r}", where=str(root), cure=_CURE)
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root):
        raise OutputError(f"{relative} leads out of the bundle", where=str(root), cure=_CURE)
    return path


@dataclass(frozen=True)
class Bundle:
    """An opened bundle at ``path``. Networks and vectors are read when they are first asked for."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """A file of the bundle. Raises OutputError when it is missing or not a regular file inside the bundle."""
        path = _contained(self.path, relative)
        if not path.is_file():
            raise OutputError(f"the bundle lacks the file {relative}", where=str(self.path), cure=_CURE)
        return path

    def directory(self, format: str) -> Path:
        """The folder with the networks of one format."""
        path = _contained(self.path, format)
        if not path.is_dir():
            raise OutputError(f"the bundle has no networks in the format '{format}'", where=str(self.path))
        return path

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats that the bundle was emitted in."""
        return tuple(dict.fromkeys(name for entry in self.manifest.task_sets.values() for name in entry.bytes))

    def _read(self, relative: str) -> bytes:
        path = self.file(relative)
        try:
            return path.read_bytes()
        except OSError as error:
            raise OutputError(f"{relative} cannot be read: {error.strerror}", where=str(self.path)) from error

    @cached_property
    def net(self) -> MultitaskGraph:
        """The multitask network. Raises OutputError when it is damaged."""
        from pamc.graph import verify_multitask
        from pamc.graph.serial import load

        try:
            structure = self._read(GRAPH).decode("utf-8")
            net = verify_multitask(load(structure, self._read(GRAPH_WEIGHTS)), "reading the bundle")
        except (InternalError, UnicodeDecodeError, RecursionError) as error:
            # The verifier blames pamc, but here the file is at fault.
            raise OutputError(
                f"the network in the bundle is damaged: {getattr(error, 'what', error)}",
                where=str(self.path / GRAPH),
                cure=_CURE,
            ) from error
        if net.tasks != self.manifest.task_names:
            raise OutputError(
                f"the network has the tasks {list(net.tasks)}, the manifest {list(self.manifest.task_names)}",
                where=str(self.path / GRAPH),
                cure=_CURE,
            )
        return net

    @cached_property
    def numerics(self) -> Numerics:
        """How the numbers in its files are stored and computed. Raises OutputError when that is damaged."""
        from pamc.bundle.numerics import NUMERICS, from_json
        from pamc.lower.numerics import folded, stored

        try:
            numerics = from_json(self._read(NUMERICS).decode("utf-8"))
            graph = stored(folded(self.net), numerics).graph
            fits = numerics.kind != "int8" or set(numerics.ranges) == set(graph.by_name)
        except (InternalError, UnicodeDecodeError):
            fits = False
        if not fits or numerics.kind != self.manifest.numerics.method:
            raise OutputError(
                "the numerics in the bundle are not those of its network", where=str(self.path / NUMERICS), cure=_CURE
            )
        return numerics

    @cached_property
    def vectors(self) -> dict[str, NDArray[np.generic]]:
        """Golden vectors: ``input`` and ``output:<task>`` arrays. Raises OutputError when they are damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load as load_safetensors

        try:
            return dict(load_safetensors(self._read(VECTORS)))
        except (SafetensorError, KeyError, ValueError) as error:
            raise OutputError(
                f"the test vectors cannot be read: {error}", where=str(self.path / VECTORS), cure=_CURE
            ) from error

    def check_hashes(self) -> None:
        """Read every file. Raises OutputError naming those that are not what the build wrote."""
        from pamc.bundle.write import file_entry

        changed = []
        for name, entry in self.manifest.files.items():
            try:
                if file_entry(self.file(name)) != entry:
                    changed.append(name)
            except OSError as error:
                raise OutputError(f"{name} cannot be read: {error.strerror}", where=str(self.path)) from error
        if changed:
            raise OutputError(
                f"files of the bundle were changed: {', '.join(changed)}",
                where=str(self.path),
                why="their sha256 is not that of the manifest",
                cure=_CURE,
            )


def _check_files(bundle: Bundle) -> None:
    listed = bundle.manifest.files
    for text, entry in bundle.manifest.task_sets.items():
        if unlisted := [name for name in entry.files if name not in listed]:
            raise OutputError(
                f"task set {text} needs files that the manifest does not list: {unlisted}",
                where=str(bundle.path),
                cure=_CURE,
            )
    for name, expected in listed.items():
        size = bundle.file(name).stat().st_size
        if size != expected.bytes:
            raise OutputError(
                f"{name} has {size} bytes, should have {expected.bytes}", where=str(bundle.path), cure=_CURE
            )
    # Exporters open files by names of their own, so no link in the whole folder may lead outside.
    for folder, directories, names in os.walk(bundle.path):
        for name in (*directories, *names):
            path = Path(folder, name)
            if path.is_symlink():
                _contained(bundle.path, path.relative_to(bundle.path).as_posix())


def open_bundle(path: Path | str) -> Bundle:
    """Open the bundle at ``path``. Raises OutputError when it is missing, incomplete or damaged.

    Sizes are checked, contents are not: see :meth:`Bundle.check_hashes`.
    """
    root = Path(path).resolve()
    if not (root / MANIFEST).is_file():
        raise OutputError(
            "this is not a bundle",
            where=str(path),
            why=f"it has no {MANIFEST}" if root.is_dir() else "there is no such folder",
            cure="build one with `pamc build`",
        )
    try:
        text = _contained(root, MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"the manifest cannot be read: {error}", where=str(root / MANIFEST), cure=_CURE) from error
    bundle = Bundle(root, from_json(text))
    try:
        _check_files(bundle)
    except OSError as error:
        raise OutputError(f"the bundle cannot be read: {error}", where=str(root), cure=_CURE) from error
    return bundle
