"""A manifest with all that a report shows, and ways to take things out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from pamc.bundle.manifest import (
    Amounts,
    Check,
    FileEntry,
    InputEntry,
    Latency,
    Manifest,
    Method,
    Normalize,
    Scores,
    TaskEntry,
    TaskSetEntry,
    Timing,
)

MACS = {"digit": 251_340, "stroke": 141_020, "slant": 132_486}
SEPARATE = {"digit": (98.42, 97.91, 98.13), "stroke": (95.08, 94.50, 94.26), "slant": (94.17, 93.75, 94.33)}


def sets_of(tasks: Sequence[str]) -> list[str]:
    """All task sets in order."""
    return ["+".join(c) for size in range(1, len(tasks) + 1) for c in combinations(tasks, size)]


def timing(p50: float) -> Timing:
    return Timing(p50_ms=p50, p10_ms=0.93 * p50, p90_ms=1.31 * p50, runs=400)


def _entry(name: str) -> TaskSetEntry:
    tasks = name.split("+")
    n = len(tasks)
    pruned = sum(MACS[task] for task in tasks)
    # One task alone pays for the shared units; together they save.
    factor = {1: 1.12, 2: 0.84, 3: 0.62}[n] if name != "slant" else 0.97
    return TaskSetEntry(
        emitted=True,
        macs=Amounts(416_520 * n, pruned, round(factor * pruned)),
        params=Amounts(61_706 * n, pruned // 8, round(factor * pruned / 8)),
        bytes={"onnx": round(factor * pruned / 2) + 3_500},
        scores={task: Scores(*SEPARATE[task]) for task in tasks},
        files=(f"onnx/{name}.onnx", "onnx/weights.bin"),
    )


def digits() -> Manifest:
    """Three tasks of accuracy, all seven task sets, with baseline and latency."""
    tasks = ["digit", "stroke", "slant"]
    names = sets_of(tasks)
    entries = {name: _entry(name) for name in names}
    latency = {
        name: {
            "separate": timing(0.081 * len(name.split("+"))),
            "pruned_separately": timing(0.018 + entries[name].macs.pruned_separately / 6e6),  # type: ignore[operator]
            "bundle": timing(0.021 + entries[name].macs.bundle / 6e6),
        }
        for name in names
    }
    owners = {
        "features.0": {"digit": 1, "stroke": 1, "digit+stroke+slant": 6},
        "features.3": {"digit": 4, "stroke": 2, "slant": 1, "digit+stroke+slant": 14},
        "classifier.1": {"digit": 38, "stroke": 9, "slant": 12, "digit+stroke": 5, "digit+stroke+slant": 31},
        "classifier.3": {"digit": 27, "stroke": 8, "slant": 9, "stroke+slant": 3, "digit+stroke+slant": 6},
    }
    checks = tuple(
        Check("onnx", name, task, 3.1e-06 + i * 1e-07, 2.4e-06 + i * 1e-08, 16)
        for i, name in enumerate(names)
        for task in name.split("+")
    )
    return Manifest(
        name="digits",
        tasks=tuple(TaskEntry(task, "accuracy", 1.0, (10 if task == "digit" else 3,)) for task in tasks),
        input=InputEntry((1, 28, 28), "uint8", Normalize((33.3,), (78.6,))),
        target="arm64",
        seed=7,
        merge=Method("pam", {"estimator": "gaussian", "groups": "n+1"}),
        prune=Method("taylor", {"steps": 12, "round_to": 4}, {"max_drop": 1.0}),
        workload=dict.fromkeys(names, 1 / len(names)),
        task_sets=entries,
        owners=owners,
        verification=checks,
        files={f"onnx/{name}.onnx": FileEntry("ab" * 32, 3_500) for name in names},
        tools={"pamc": "0.1.0", "torch": "2.13.0", "onnx": "1.23.2", "onnxruntime": "1.31.1"},
        sources={"examples/digits/model.yaml": "0f" * 32, "nets.py": "1e" * 32, "digit.safetensors": "2d" * 32},
        stage_seconds={"capture": 3.42, "merge": 8.1, "prune": 131.0, "export": 1.2},
        created="2026-11-22T14:05:00Z",
        latency=Latency("AMD EPYC 9V74, 2 cores, governor not readable, Python 3.11.9, onnxruntime 1.31.1", latency),
    )


def rename(manifest: Manifest, names: Mapping[str, str]) -> Manifest:
    """The same manifest with other task names."""

    def new(task_set: str) -> str:
        return "+".join(names.get(task, task) for task in task_set.split("+"))

    assert manifest.latency is not None
    return replace(
        manifest,
        tasks=tuple(replace(task, name=new(task.name)) for task in manifest.tasks),
        workload={new(name): share for name, share in manifest.workload.items()},
        task_sets={
            new(name): replace(entry, scores={new(task): score for task, score in entry.scores.items()})
            for name, entry in manifest.task_sets.items()
        },
        owners={space: {new(k): n for k, n in counts.items()} for space, counts in manifest.owners.items()},
        verification=tuple(
            replace(check, task_set=new(check.task_set), output=new(check.output)) for check in manifest.verification
        ),
        latency=replace(manifest.latency, sets={new(k): row for k, row in manifest.latency.sets.items()}),
    )


def without_baseline(manifest: Manifest) -> Manifest:
    """As built without pruning the networks one by one."""
    assert manifest.latency is not None

    def bare(entry: TaskSetEntry) -> TaskSetEntry:
        return replace(
            entry,
            macs=replace(entry.macs, pruned_separately=None),
            params=replace(entry.params, pruned_separately=None),
            scores={task: replace(score, pruned_separately=None) for task, score in entry.scores.items()},
        )

    rows = {
        name: {variant: timing for variant, timing in row.items() if variant != "pruned_separately"}
        for name, row in manifest.latency.sets.items()
    }
    return replace(
        manifest,
        task_sets={name: bare(entry) for name, entry in manifest.task_sets.items()},
        latency=replace(manifest.latency, sets=rows),
    )
