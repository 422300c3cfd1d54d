"""From a build's results to the manifest of its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os.path import relpath

from pamc import __version__
from pamc.bundle import Check, Manifest, file_entry
from pamc.bundle.manifest import (
    Amounts,
    FileEntry,
    InputEntry,
    Latency,
    Method,
    Normalize,
    Scores,
    TaskEntry,
    TaskSetEntry,
)
from pamc.export import find_exporter
from pamc.graph import MultitaskGraph, cost
from pamc.lower import Plan
from pamc.merge import METHODS as MERGE_METHODS
from pamc.prune.effort import search_options
from pamc.scoring import Scorer
from pamc.spec import InputSpec, MethodSpec, PruneSpec, Spec
from pamc.views import owner_counts

__all__ = ["Evidence", "compose_manifest"]

TOOLS = ("torch", "onnx", "onnxruntime", "ai-edge-litert", "numpy", "safetensors")


@dataclass(frozen=True)
class Evidence:
    """What a build found out; ``files`` are those written so far, ``alone`` is empty without a baseline.

    ``sizes`` are bytes by format and task set, ``quantized`` scores by format, task set and task; the latter are
    empty with float32.
    """

    target: str
    given: InputSpec
    separate: MultitaskGraph
    alone: Mapping[str, MultitaskGraph]
    net: MultitaskGraph
    plans: Mapping[str, Plan]
    scorer: Scorer
    checks: tuple[Check, ...]
    files: Mapping[str, FileEntry]
    stage_seconds: Mapping[str, float]
    latency: tuple[Latency, ...]
    sizes: Mapping[str, Mapping[str, int]]
    quantized: Mapping[str, Mapping[str, Mapping[str, float]]]
    numerics: Method


def _tools() -> dict[str, str]:
    found = {"pamc": __version__}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _sources(spec: Spec) -> dict[str, str]:
    files = {spec.path.resolve()}
    for task in spec.tasks:
        files |= {task.model.file, task.weights}
    files |= {ref.file for ref in (spec.data.train, spec.data.eval, spec.data.validation) if ref is not None}
    return {relpath(path, spec.root): file_entry(path).sha256 for path in sorted(files)}


def _amounts(evidence: Evidence, plan: Plan, what: str) -> Amounts:
    names = plan.task_set.split("+")
    separate = getattr(cost(evidence.separate, evidence.separate.task_set(names)), what)
    alone = None
    if evidence.alone:
        alone = sum(getattr(cost(evidence.alone[name], 1), what) for name in names)
    return Amounts(separate, alone, getattr(cost(evidence.net, plan.request), what))


def _task_sets(spec: Spec, evidence: Evidence) -> dict[str, TaskSetEntry]:
    before = evidence.scorer.scores(evidence.separate)
    after = evidence.scorer.scores(evidence.net)
    alone = {task: evidence.scorer.scores(net)[task] for task, net in evidence.alone.items()}
    scores = {task: Scores(before[task], alone.get(task), after[task]) for task in evidence.net.tasks}
    entries = {}
    for text, plan in evidence.plans.items():
        files = {}
        if text in spec.task_sets:
            files = {name: [f"{name}/{file}" for file in find_exporter(name).files(text)] for name in spec.emit}
        entries[text] = TaskSetEntry(
            emitted=text in spec.task_sets,
            macs=_amounts(evidence, plan, "macs"),
            params=_amounts(evidence, plan, "params"),
            bytes={name: evidence.sizes[name][text] for name in files},
            scores={
                task: replace(scores[task], quantized=_quantized(evidence, text, task)) for task in text.split("+")
            },
            files=tuple(file for listed in files.values() for file in listed),
        )
    return entries


def _quantized(evidence: Evidence, task_set: str, task: str) -> Mapping[str, float] | None:
    return {name: found[task_set][task] for name, found in evidence.quantized.items()} or None


def _merge_method(given: MethodSpec) -> Method:
    return Method(given.method, asdict(MERGE_METHODS.parse_options(given.method, given.options)))


def _prune_method(given: PruneSpec) -> Method:
    budget = {name: value for name, value in asdict(given.budget).items() if value is not None}
    return Method(given.method, asdict(search_options(given.method, given.effort, given.options)), budget)


def compose_manifest(spec: Spec, evidence: Evidence) -> Manifest:
    """The manifest of a bundle; hashes of files written later are added when the bundle is committed."""
    given, allowed = evidence.given, spec.max_drops
    normalize = Normalize(given.normalize.mean, given.normalize.std) if given.normalize else None
    shapes = {task: evidence.net.graph.shapes[value] for task, value in evidence.net.graph.outputs.items()}
    return Manifest(
        name=spec.name,
        tasks=tuple(TaskEntry(task.name, task.metric, allowed[task.name], shapes[task.name]) for task in spec.tasks),
        input=InputEntry(tuple(given.shape), given.dtype, normalize),
        target=evidence.target,
        seed=spec.seed,
        merge=_merge_method(spec.merge),
        prune=_prune_method(spec.prune),
        workload=dict(spec.workload),
        task_sets=_task_sets(spec, evidence),
        owners=owner_counts(evidence.net),
        verification=evidence.checks,
        files=evidence.files,
        tools=_tools(),
        sources=_sources(spec),
        stage_seconds=evidence.stage_seconds,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        latency=next(iter(evidence.latency), None),
        further_latency=evidence.latency[1:],
        numerics=evidence.numerics,
        fold_bytes=spec.fold_bytes,
    )
