"""From a finished network to a bundle: export, verify, time, describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from pamc.bundle import GRAPH, GRAPH_WEIGHTS, VECTORS, BundleWriter, Check, Manifest, digest
from pamc.bundle.manifest import Latency
from pamc.data import shuffled
from pamc.export import Exporter, Session
from pamc.graph import MultitaskGraph, restrict
from pamc.graph.serial import dump
from pamc.lower import Plan, load_target, lower
from pamc.manifest import Evidence, compose_manifest
from pamc.progress import Progress
from pamc.redundancy import REDUNDANCY, SAMPLES, analyse, to_json
from pamc.scoring import Scorer
from pamc.spec import InputSpec, Spec
from pamc.stages import StageRunner
from pamc.train import Samples, predict
from pamc.verify import golden_vectors, select_samples, verify_exports

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
    """What a bundle is made of; ``train`` holds the original networks' answers as its teacher."""

    given: InputSpec
    separate: MultitaskGraph
    alone: Mapping[str, MultitaskGraph]
    pruned: MultitaskGraph
    plans: Mapping[str, Plan]
    scorer: Scorer
    train: Samples


def write_bundle(
    spec: Spec,
    out: Path,
    target: str,
    made: Outcome,
    exporters: Sequence[Exporter],
    stages: StageRunner,
    reporter: Reporter | None,
) -> Path:
    """Export, verify, time and describe; the bundle appears at ``out`` only when all of it succeeded.

    Raises VerificationError when a file disagrees with the PyTorch network, OutputError when it cannot be written.
    """
    progress = stages.progress
    net, samples = made.pruned, made.scorer.evaluation
    structure, arrays = dump(net)
    metadata = {"pamc.name": spec.name, "pamc.target": target, "pamc.network": digest(structure, arrays)}
    emitted = {text: made.plans[text] for text in spec.task_sets}
    proof = select_samples(samples.x, spec.seed, PROOF_SAMPLES)
    with stages.timed("redundancy"):
        requests = [plan.request for plan in made.plans.values()]
        found = analyse(net, shuffled(made.train, spec.seed, SAMPLES), made.scorer.targets, requests, spec.seed)
    checks: list[Check] = []
    with BundleWriter(out, make_parent=True) as writer:
        writer.write_bytes("config.yaml", spec.path.read_bytes())
        writer.write_text(GRAPH, structure)
        writer.write_bytes(GRAPH_WEIGHTS, arrays)
        writer.write_text(REDUNDANCY, to_json(found))
        writer.write_bytes(VECTORS, golden_vectors(net, samples.x, spec.seed).to_bytes())
        for exporter in exporters:
            folder = writer.root / exporter.name
            folder.mkdir()
            with stages.timed(f"export ({exporter.name})"):
                exporter.write(emitted, folder, metadata)
            with stages.timed(f"verify ({exporter.name})"):
                checks += verify_exports(
                    exporter, folder, made.plans, proof, predict(net, proof), emitted=frozenset(emitted)
                )
        latency = None
        if reporter is not None:
            with stages.timed("latency"):
                latency = _latency(made, exporters[0], writer.root, emitted, target, reporter, progress)
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
                latency=latency,
            ),
        )
        if reporter is not None:
            for name, page in reporter.pages(manifest, made.plans).items():
                writer.write_text(name, page)
        path = writer.commit(manifest)
    return path


def _latency(
    made: Outcome,
    exporter: Exporter,
    root: Path,
    emitted: Mapping[str, Plan],
    target: str,
    reporter: Reporter,
    progress: Progress,
) -> Latency | None:
    """Time the bundle against the separate networks, as they are and pruned alone, on this machine."""
    with TemporaryDirectory(prefix="pamc-latency-") as folder:
        rivals = {
            "separate": {task: restrict(made.separate, [task]) for task in made.separate.tasks},
            "pruned_separately": dict(made.alone),
        }
        sessions: dict[str, dict[str, Session]] = {}
        for variant, nets in rivals.items():
            for task, net in nets.items():
                (plan,) = lower(net, [net.everyone], load_target(target)).values()
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
        return reporter.latency(variants, made.scorer.evaluation.x[:1], progress)
