"""The story of a build, from top to bottom.

model.yaml -> Spec -> one graph per task -> multitask graph -> merged -> pruned -> plans -> files -> proof -> bundle.
Each arrow is one function from one immutable value to the next; the slow ones are cached by what they read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pamc.bundle import (
    BundleWriter,
    Manifest,
    StageCache,
    open_bundle,
)
from pamc.capture import CheckReport, align, capture, check_networks, load_weights
from pamc.data import load_samples, shuffled
from pamc.errors import ConfigError, UnsupportedModelError, UserCodeError, WeightsError
from pamc.export import find_exporter
from pamc.graph import Graph, MultitaskGraph, all_task_sets
from pamc.jobs import InProcesses
from pamc.lower import Numerics, load_target, lower, numerics_of
from pamc.lower.target import RUNTIMES
from pamc.merge import METHODS as MERGE_METHODS
from pamc.merge import Calibration
from pamc.previews import exported_view, lowered_view, planned_view, stage_view
from pamc.progress import Progress
from pamc.scoring import KINDS, Scorer, targets_of, truth_of
from pamc.searches import Searches, workload_of
from pamc.spec import FunctionRef, InputSpec, Spec, TaskSpec
from pamc.stages import StageRunner
from pamc.train import Samples, predict
from pamc.usercode import call, load_function, sources
from pamc.views import View
from pamc.writing import Outcome, Reporter, write_bundle

__all__ = ["BuildOptions", "BuildResult", "build", "check"]

CALIBRATION_SAMPLES = 1024
NUMBERS = {"none": "float32", "fp16": "float16", "int8": "int8"}
MAX_TASKS_FOR_ALL_SETS = 6


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build: for which target, where to, how far, and how many searches to run at once, where each trains on one
    thread (None: as many as keep the cores busy). More than one run in processes of their own, which a script may only
    start below ``if __name__ == "__main__":``."""

    out: Path
    target: str = "arm64"
    stop_after: str | None = None
    dry_run: bool = False
    force: bool = False
    costs: Path | None = None
    cache_dir: Path | None = None
    jobs: int | None = 1


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A written bundle with its manifest, or, when the build was to stop early, a view of what it had by then."""

    path: Path | None
    manifest: Manifest | None
    view: View | None = None


@dataclass(frozen=True)
class _Data:
    train: Samples
    evaluation: Samples
    validation: Samples | None
    identity: str


def _input_of(spec: Spec) -> InputSpec:
    if spec.input is not None:
        return spec.input
    samples = load_samples(spec.data.eval, spec.tasks, None, None, {})
    return InputSpec(samples.x.shape[1:], "uint8" if samples.x.dtype == np.uint8 else "float32")


def _model(task: TaskSpec) -> Callable[..., Any]:
    return load_function(f"{task.model.file.name}:{task.model.function}", task.model.file.parent)


def _capture(task: TaskSpec, given: InputSpec, root: Path) -> Graph:
    """The graph of one task's network with its weights."""
    module = call(_model(task), what=f"model function {task.model}", **task.args)
    load_weights(module, task.weights)
    graph = capture(task.name, module, given.shape, dtype=given.dtype, normalize=given.normalize, root=root)
    if task.loss == "cross_entropy" and np.prod(graph.shapes[graph.outputs[task.name]]) == 1:
        raise ConfigError(
            f"{task.name}: a network with one output names no class",
            where=str(task.model),
            cure="`loss: binary`, if it says whether something holds; `metric: mae` or `mse`, if it is a number",
        )
    return graph


def _check(spec: Spec, given: InputSpec) -> CheckReport:
    return check_networks({task.name: partial(_capture, task, given, spec.root) for task in spec.tasks})


def check(spec: Spec) -> CheckReport:
    """Capture every network, without training or writing anything, and collect all that is wrong."""
    return _check(spec, _input_of(spec))


def _separate(spec: Spec, given: InputSpec, stages: StageRunner) -> tuple[str, MultitaskGraph]:
    """The networks side by side in one graph, every unit owned by its own task."""
    parts: list[object] = [given]
    for task in spec.tasks:
        # Locations in the graph are relative to the root, so the file's place belongs to the key.
        parts += [task.name, relpath(task.model.file, spec.root), task.model.function, dict(task.args), task.weights]
        # What capture refuses depends on it.
        parts.append(task.loss)
        _model(task)
        parts += sources(task.model.file.parent)
    key = stages.key("align", *parts)

    def side_by_side() -> MultitaskGraph:
        try:
            return align({task.name: _capture(task, given, spec.root) for task in spec.tasks})
        except (ConfigError, UserCodeError, WeightsError, UnsupportedModelError) as error:
            # Not only what is wrong with the first network.
            raise _check(spec, given).error() or error from error

    return key, stages.run("align", key, side_by_side, title="capture")


def _with_teacher(samples: Samples, separate: MultitaskGraph) -> Samples:
    return Samples(samples.x, samples.labels, predict(separate, samples.x))


def _load_data(spec: Spec, given: InputSpec, separate: MultitaskGraph, stages: StageRunner) -> _Data:
    widths = {task: int(np.prod(separate.graph.shapes[value])) for task, value in separate.graph.outputs.items()}

    def load(ref: FunctionRef) -> Samples:
        return load_samples(ref, spec.tasks, given.dtype, tuple(given.shape), widths)

    train = load(spec.data.train)
    if spec.data.samples is not None:
        train = shuffled(train, spec.seed, spec.data.samples)
    evaluation = load(spec.data.eval)
    validation = load(spec.data.validation) if spec.data.validation else None
    sets = [samples for samples in (train, evaluation, validation) if samples is not None]
    identity = stages.key(
        *(
            part
            for samples in sets
            for part in (samples.x, *(item for pair in sorted(samples.labels.items()) for item in pair))
        )
    )
    return _Data(
        _with_teacher(train, separate),
        _with_teacher(evaluation, separate),
        _with_teacher(validation, separate) if validation else None,
        identity,
    )


def _merge(
    spec: Spec,
    separate_key: str,
    separate: MultitaskGraph,
    data: _Data,
    stages: StageRunner,
    method: str,
    given: Mapping[str, object],
) -> tuple[str, MultitaskGraph]:
    options = MERGE_METHODS.parse_options(method, given)
    kinds = {task.name: KINDS[task.loss] for task in spec.tasks}
    targets = targets_of(spec.tasks, separate)
    key = stages.key("merge", separate_key, method, options, kinds, targets, data.identity, spec.seed)
    calibration = shuffled(data.train, spec.seed, CALIBRATION_SAMPLES)

    def merge() -> MultitaskGraph:
        labels = {target.task: truth_of(target, calibration) for target in targets}
        seen = Calibration(calibration.x, kinds, labels, stages.progress, spec.seed, data.train, targets)
        return MERGE_METHODS.get(method).function(separate, seen, options)

    return key, stages.run("merge", key, merge, title=f"merge ({method})")


def _requests(spec: Spec, net: MultitaskGraph) -> list[int]:
    """The task sets that are reported: all, unless there are too many."""
    emitted = {net.task_set(text.split("+")) for text in spec.task_sets}
    wanted = emitted | {1 << task for task in range(len(net.tasks))} | {net.everyone}
    if len(net.tasks) <= MAX_TASKS_FOR_ALL_SETS:
        return list(all_task_sets(len(net.tasks)))
    return sorted(wanted, key=lambda mask: (mask.bit_count(), mask))


def _processes() -> int:
    """One more than there are cores: searches take unequally long, and so the last ones leave fewer of them idle."""
    cores = torch.get_num_threads()
    return cores + 1 if cores > 1 else 1


def _numerics(spec: Spec, net: MultitaskGraph, x: NDArray[np.generic], stages: StageRunner) -> Numerics:
    """How the files store and compute numbers."""
    with stages.timed("calibrate") if spec.quantize.kind == "int8" else nullcontext():
        return numerics_of(NUMBERS[spec.quantize.kind], net, x, stages.progress)


def build(spec: Spec, options: BuildOptions, progress: Progress, reporter: Reporter | None = None) -> BuildResult:
    """Build the bundle that a spec describes. Raises a PamcError with its exit code; leaves no half bundle."""
    target = load_target(options.target, RUNTIMES.get(spec.emit[0], spec.emit[0]))
    if options.costs is not None:
        target = target.with_costs(options.costs)
    exporters = [find_exporter(name) for name in spec.emit]
    if not options.dry_run and options.stop_after is None:
        # A place that cannot be written is found out now, and not after the training.
        with BundleWriter(options.out, make_parent=True):
            pass
    stages = StageRunner(StageCache(options.cache_dir), progress, options.force, keep=not options.dry_run)

    given = _input_of(spec)
    separate_key, separate = _separate(spec, given, stages)
    if options.dry_run:
        requests = _requests(spec, separate)
        return BuildResult(None, None, planned_view(spec, options.target, options.out, separate, requests))
    if options.stop_after in ("capture", "align"):
        return BuildResult(None, None, stage_view(options.stop_after, separate, _requests(spec, separate)))
    data = _load_data(spec, given, separate, stages)
    merge = partial(_merge, spec, separate_key, separate, data, stages)
    merge_key, merged = merge(spec.merge.method, spec.merge.options)
    if options.stop_after == "merge":
        return BuildResult(None, None, stage_view("merge", merged, _requests(spec, merged)))
    scorer = Scorer(targets_of(spec.tasks, separate), data.evaluation, data.validation)
    tile = target.channel_tile
    searches = Searches(spec, separate_key, separate, data.train, data.identity, scorer, stages, tile)
    processes = (options.jobs or _processes()) if searches.side_by_side else 1
    with InProcesses(processes, progress) as jobs:
        alone = searches.alone(jobs)
        pruned = searches.merged(merge_key, merged, alone, lambda method: merge(method, {})[1], jobs)
        baseline = alone([1.0])[0] if spec.baseline and spec.prune.method != "none" else {}
    if options.stop_after == "prune":
        return BuildResult(None, None, stage_view("prune", pruned, _requests(spec, pruned)))
    samples = shuffled(data.train, spec.seed, spec.quantize.samples).x
    numerics = _numerics(spec, pruned, samples, stages)
    lowered = lower(pruned, _requests(spec, pruned), target, numerics, workload_of(spec, pruned.tasks), spec.fold_bytes)
    plans = {plan.task_set: plan for plan in lowered.values()}
    if options.stop_after == "lower":
        return BuildResult(None, None, lowered_view(plans, pruned.tasks))
    if options.stop_after == "export":
        emitted = {text: plans[text] for text in spec.task_sets}
        return BuildResult(None, None, exported_view(emitted, exporters, spec.format_options))
    made = Outcome(given, separate, baseline, pruned, numerics, samples, plans, scorer, data.train, target.costs)
    path = write_bundle(spec, options.out, options.target, made, exporters, stages, reporter)
    return BuildResult(path, open_bundle(path).manifest)
