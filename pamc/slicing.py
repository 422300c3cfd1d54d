"""A bundle with only some of the task sets of another one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pamc.bundle import MANIFEST, Bundle, BundleWriter, Manifest
from pamc.bundle.manifest import Latency, TaskSetEntry
from pamc.bundle.plans import plans_of
from pamc.errors import ConfigError, VerificationError
from pamc.export import Exporter, Slicing, find_exporter
from pamc.registry import did_you_mean
from pamc.task_sets import UnknownTaskError, parse_task_set, sort_task_sets

if TYPE_CHECKING:
    from pamc.writing import Reporter

__all__ = ["chosen_sets", "slice_bundle"]


def chosen_sets(bundle: Bundle, tasks: Sequence[str], task_sets: Sequence[str]) -> tuple[str, ...]:
    """The task sets to keep: ``task_sets``, or all that were emitted of ``tasks`` alone where none are named.

    Raises ConfigError for unknown tasks, for task sets that were not emitted or ask for other tasks, and when nothing
    is left.
    """
    names, problems = bundle.manifest.task_names, []
    emitted = [text for text, entry in bundle.manifest.task_sets.items() if entry.emitted]
    found = []
    for text in (*tasks, *task_sets):
        try:
            found.append(parse_task_set(text, names))
        except UnknownTaskError as error:
            problems.append(f"{error}{did_you_mean(error.name, names)}")
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems), cure=f"the bundle has the tasks: {', '.join(names)}")
    wanted = set("+".join(found[: len(tasks)]).split("+")) if tasks else set(names)
    kept = dict.fromkeys(found[len(tasks) :] or (text for text in emitted if wanted.issuperset(text.split("+"))))
    absent = [text for text in kept if text not in emitted]
    other = [text for text in kept if not wanted.issuperset(text.split("+"))]
    if absent or other or not kept:
        what = f"task set {absent[0]} has no network in the bundle" if absent else ""
        what = what or (f"task set {other[0]} asks for other tasks than {', '.join(tasks)}" if other else "")
        raise ConfigError(what or f"no task set of {', '.join(tasks)} was emitted", cure=f"use: {', '.join(emitted)}")
    return sort_task_sets(kept, names)


def slice_bundle(bundle: Bundle, kept: Sequence[str], out: Path, reporter: Reporter) -> Path:
    """Write a bundle with the networks of the task sets ``kept`` alone to ``out`` and return its place.

    The multitask network stays whole: other task sets can still be composed. Each network is run on the golden vectors
    and must answer as before, to the bit. Raises OutputError when files of the bundle are not those that were built or
    ``out`` cannot be written, ConfigError for a format that cannot be sliced and for a slice into the bundle itself,
    VerificationError when a network answers otherwise.
    """
    if out.resolve() == bundle.path:
        raise ConfigError("the slice would replace the bundle itself", where=str(out), cure="choose another --out")
    bundle.check_hashes()
    exporters = {name: find_exporter(name) for name in bundle.formats}
    with BundleWriter(out, make_parent=True) as writer:
        for name in bundle.manifest.files:
            if name.partition("/")[0] not in exporters and not name.startswith("report."):
                writer.write_bytes(name, bundle.file(name).read_bytes())
        for name, exporter in exporters.items():
            if not isinstance(exporter, Slicing):
                raise ConfigError(f"the exporter for format '{name}' cannot take task sets out of its files")
            folder = writer.root / name
            folder.mkdir()
            exporter.slice(bundle.directory(name), kept, folder)
            _compare(exporter, bundle, folder, kept)
        manifest = replace(_manifest(bundle, exporters, kept), files=writer.file_entries())
        for name, page in reporter.pages(manifest, plans_of(bundle)).items():
            writer.write_text(name, page)
        return writer.commit(manifest)


def _compare(exporter: Exporter, bundle: Bundle, folder: Path, kept: Sequence[str]) -> None:
    x = bundle.vectors["input"]
    for text in kept:
        before, after = (exporter.open(place, text).run(x) for place in (bundle.directory(exporter.name), folder))
        if list(before) != list(after) or not all(np.array_equal(before[task], after[task]) for task in before):
            raise VerificationError(
                f"{exporter.name}, task set {text}: the slice does not answer as the bundle does",
                where=str(bundle.path),
                cure="this is a bug in pamc; please report it",
            )


def _manifest(bundle: Bundle, exporters: Mapping[str, Exporter], kept: Sequence[str]) -> Manifest:
    """The bundle's own, true for the slice."""
    manifest = bundle.manifest

    def entry(text: str, old: TaskSetEntry) -> TaskSetEntry:
        if text not in kept:
            return replace(old, emitted=False, bytes={}, files=())
        files = (f"{name}/{file}" for name, exporter in exporters.items() for file in exporter.files(text))
        return replace(old, files=tuple(files))

    def timed(latency: Latency) -> Latency:
        return replace(latency, sets={text: row for text, row in latency.sets.items() if text in kept})

    return replace(
        manifest,
        task_sets={text: entry(text, old) for text, old in manifest.task_sets.items()},
        verification=tuple(check for check in manifest.verification if check.task_set in kept),
        latency=None if manifest.latency is None else timed(manifest.latency),
        further_latency=tuple(map(timed, manifest.further_latency)),
        slice_of=hashlib.sha256(bundle.file(MANIFEST).read_bytes()).hexdigest(),
    )
