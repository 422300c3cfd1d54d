"""A bundle around networks that no build made: the least that opening, deploying and measuring it need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pamc.bundle import MANIFEST, VECTORS, Bundle, Manifest, file_entry, open_bundle, to_json
from pamc.bundle.manifest import FileEntry, InputEntry, Method, TaskEntry, TaskSetEntry

__all__ = ["bare_bundle"]


def bare_bundle(
    folder: Path,
    name: str,
    target: str,
    shape: tuple[int, ...],
    tasks: Mapping[str, tuple[int, ...]],
    entries: Mapping[str, TaskSetEntry],
    files: Mapping[str, FileEntry],
) -> Bundle:
    """Write the manifest of the bundle in ``folder``, which holds ``files`` and the golden vectors, and open it.

    ``shape`` is the float32 input's, ``tasks`` those of the outputs; every task is a task set of ``entries``.
    """
    manifest = Manifest(
        name=name,
        tasks=tuple(TaskEntry(task, "accuracy", None, output) for task, output in tasks.items()),
        input=InputEntry(shape, "float32", None),
        target=target,
        seed=0,
        merge=Method("separate", {}),
        prune=Method("none", {}),
        workload={task: 1.0 / len(tasks) for task in tasks},
        task_sets=entries,
        owners={},
        verification=(),
        files={**files, VECTORS: file_entry(folder / VECTORS)},
        tools={},
        sources={},
        stage_seconds={},
        created="1970-01-01T00:00:00+00:00",
    )
    (folder / MANIFEST).write_text(to_json(manifest), encoding="utf-8")
    return open_bundle(folder)
