"""From a finished network to a bundle: export, verify, score, time, describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pamc.accuracy import check_accuracy, file_scores
from pamc.bundle import GRAPH, GRAPH_WEIGHTS, VECTORS, BundleWriter, Check, Manifest, digest
from pamc.bundle import numerics as stored_numerics
from pamc.bundle.manifest import Latency, Method
from pamc.bundle.plans import COSTS
from pamc.data import shuffled
from pamc.export import Exporter, Session, Slicing
from pamc.graph import MultitaskGraph, restrict
from pamc.graph.serial import dump
from pamc.lower import Numerics, Plan, load_target, lower, numerics_of
from pamc.lower.cost_model import Costs
from pamc.lower.target import costs_text
from pamc.manifest import Evidence, compose_manifest
from pamc.progress import Progress, QuietProgress
from pamc.redundancy import REDUNDANCY, SAMPLES, analyse, to_json
from pamc.scoring import Scorer
from pamc.spec import InputSpec, Spec
from pamc.stages import StageRunner
from pamc.train import Samples
from pamc.verify import (
    golden_vectors,
    neighbours,
    reference_outputs,
    select_samples,
    verify_exports,
    verify_operations,
    verify_plans,
)

__all__ = ["Outcome", "Reporter", "write_bundle"]

PROOF_SAMPLES = 64


class Reporter(Protocol):
    """Measures and describes a bundle; the compiler itself knows nothing of clocks and pages."""

    def latency(
        self, variants: Mapping[str, Mapping[str, Sequence[Session]]], x: np.ndarray, progress: Progress
    ) -> Latency | None:
        """Timings of one inference by task set and variant; the sessions of a variant run one after another."""

    def pages(self, manifest: Manifest, plans: Mapping[str, Plan]) -> Mapping[str, str]:
        """Pages to keep in the bundle, by file name."""


@dataclass(frozen=True)
class Outcome:
    """What a bundle is made of; ``train`` holds the original networks' answers as its teacher.

    ``calibration`` are the samples that ``numerics`` were measured on, ``costs`` those that the plans were made for.
    """

    given: InputSpec
    separate: MultitaskGraph
    alone: Mapping[str, MultitaskGraph]
    pruned: MultitaskGraph
    numerics: Numerics
    calibration: NDArray[np.generic]
    plans: Mapping[str, Plan]
    scorer: Scorer
    train: Samples
    costs: Costs | None = None


def write_bundle(
    spec: Spec,
    out: Path,
    target: str,
    made: Outcome,
    exporters: Sequence[Exporter],
    stages: StageRunner,
    reporter: Reporter | None,
) -> Path:
    """Export, verify, score, time and describe; the bundle appears at ``out`` only when all of it succeeded.

    Raises VerificationError when a file disagrees with the PyTorch network, GoalMissedError when its numbers cost more
    accuracy than allowed, OutputError when it cannot be written.
    """
    progress = stages.progress
    net, samples = made.pruned, made.scorer.evaluation
    structure, arrays = dump(net)
    metadata = {"pamc.name": spec.name, "pamc.target": target, "pamc.network": digest(structure, arrays)}
    emitted = {text: made.plans[text] for text in spec.task_sets}
    proof = select_samples(samples.x, spec.seed, PROOF_SAMPLES)
    with stages.timed("redundancy"):
        requests = [plan.request for plan in made.plans.values()]
        redundancy = analyse(net, shuffled(made.train, spec.seed, SAMPLES), made.scorer.targets, requests, spec.seed)
    checks: list[Check] = []
    quantized: dict[str, Mapping[str, Mapping[str, float]]] = {}
    sizes: dict[str, Mapping[str, int]] = {}
    with BundleWriter(out, make_parent=True) as writer:
        writer.write_bytes("config.yaml", spec.path.read_bytes())
        writer.write_text(GRAPH, structure)
        writer.write_bytes(GRAPH_WEIGHTS, arrays)
        writer.write_text(stored_numerics.NUMERICS, stored_numerics.to_json(made.numerics))
        writer.write_text(REDUNDANCY, to_json(redundancy))
        if made.costs is not None:
            writer.write_text(COSTS, costs_text(made.costs))
        writer.write_bytes(VECTORS, golden_vectors(net, samples.x, spec.seed, numerics=made.numerics).to_bytes())
        reference = reference_outputs(net, made.numerics, proof)
        near = cache(partial(neighbours, net, made.numerics, proof))
        verify_plans(net, made.numerics, made.plans.values(), proof)
        for exporter in exporters:
            folder = writer.root / exporter.name
            folder.mkdir()
            with stages.timed(f"export ({exporter.name})"):
                exporter.write(emitted, folder, metadata, spec.format_options.get(exporter.name, {}))
                sizes[exporter.name] = {text: _bytes(exporter, folder, text) for text in emitted}
            with stages.timed(f"verify ({exporter.name})"):
                checks += verify_exports(
                    exporter, folder, made.plans, proof, reference, near=near, emitted=frozenset(emitted)
                )
                verify_operations(exporter, folder, made.plans.values(), proof)
            if made.numerics.kind != "float32":
                with stages.timed(f"score ({exporter.name})"):
                    found = file_scores(exporter, folder, made.plans, made.scorer, frozenset(emitted), progress)
                    check_accuracy(spec, exporter.name, found)
                quantized[exporter.name] = {text: judged.scores for text, judged in found.items()}
        latency: list[Latency] = []
        if reporter is not None:
            with stages.timed("latency"):
                for exporter in exporters:
                    latency += _latency(made, exporter, writer.root, emitted, target, reporter, progress)
        manifest = compose_manifest(
            spec,
            Evidence(
                target=target,
                given=made.given,
                separate=made.separate,
                alone=made.alone,
                net=net,
                plans=made.plans,
                scorer=made.scorer,
                checks=tuple(checks),
                files=writer.file_entries(),
                stage_seconds=dict(stages.seconds),
                latency=tuple(latency),
                sizes=sizes,
                quantized=quantized,
                numerics=_method(spec, made.numerics),
            ),
        )
        if reporter is not None:
            for name, page in reporter.pages(manifest, made.plans).items():
                writer.write_text(name, page)
        path = writer.commit(manifest)
    return path


def _method(spec: Spec, numerics: Numerics) -> Method:
    options = {name: value for name, value in asdict(spec.quantize).items() if name != "kind"}
    return Method(numerics.kind, options if numerics.kind == "int8" else {})


def _bytes(exporter: Exporter, folder: Path, task_set: str) -> int:
    """The size of what a device needs for one task set alone."""
    if not isinstance(exporter, Slicing):
        return sum((folder / name).stat().st_size for name in exporter.files(task_set))
    with TemporaryDirectory(prefix="pamc-slice-") as place:
        return sum(path.stat().st_size for path in exporter.slice(folder, [task_set], Path(place)))


def _latency(
    made: Outcome,
    exporter: Exporter,
    root: Path,
    emitted: Mapping[str, Plan],
    target: str,
    reporter: Reporter,
    progress: Progress,
) -> list[Latency]:
    """Time one format of the bundle against the separate networks, as they are and pruned alone, on this machine.

    All hold their numbers in the same way.
    """
    with TemporaryDirectory(prefix="pamc-latency-") as folder:
        rivals = {
            "separate": {task: restrict(made.separate, [task]) for task in made.separate.tasks},
            "pruned_separately": dict(made.alone),
        }
        sessions: dict[str, dict[str, Session]] = {}
        for variant, nets in rivals.items():
            for task, net in nets.items():
                numerics = numerics_of(made.numerics.kind, net, made.calibration, QuietProgress())
                (plan,) = lower(net, [net.everyone], load_target(target), numerics).values()
                place = Path(folder) / variant / task
                place.mkdir(parents=True)
                exporter.write({task: plan}, place, {})
                sessions.setdefault(variant, {})[task] = exporter.open(place, task)
        variants = {
            text: {
                **{name: [held[task] for task in text.split("+")] for name, held in sessions.items()},
                "bundle": [exporter.open(root / exporter.name, text)],
            }
            for text in emitted
        }
        found = reporter.latency(variants, made.scorer.evaluation.x[:1], progress)
    return [] if found is None else [replace(found, format=exporter.name)]
