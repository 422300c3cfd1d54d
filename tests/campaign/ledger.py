"""What a campaign has found so far, kept in files, so that a campaign that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pamc.graph.ops import ACTIVATIONS, OPS
from pamc.lower.numerics import KINDS
from tests.campaign.backends import BACKENDS, available
from tests.campaign.comparing import Outcome

__all__ = ["bury", "finished", "summary"]

Record = Mapping[str, Any]
COVERED = (set(OPS) - {"activation"}) | ACTIVATIONS
MOST_FAILURES = 20


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # the last line of a process that was killed


def finished(folder: Path) -> dict[int, Record]:
    """Outcomes by case, over the files of all workers."""
    return {line["case"]: line for path in sorted(folder.glob("*.jsonl")) for line in _lines(path) if "case" in line}


def bury(path: Path, status: int) -> bool:
    """Count the case at which the worker of a file died as failed. False when it died at none."""
    started = None
    for line in _lines(path):
        started = line.get("started")
    if started is None:
        return False
    outcome = Outcome(failures=[f"the process died with exit status {status}"])
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"case": started, **asdict(outcome)}) + "\n")
    return True


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    held = list(rows)
    widths = [max(len(row[column]) for row in held) for column in range(len(held[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in held]


def _errors(records: Mapping[int, Record]) -> list[str]:
    rows = [("backend", "numbers", "cases", "median", "worst", "allowed", "of")]
    for backend in BACKENDS:
        for kind in KINDS:
            held = [record for record in records.values() if record["kind"] == kind]
            errors = sorted(record["worst"][backend.name] for record in held if backend.name in record["worst"])
            if errors:
                limit, unit = backend.limit(kind)
                figures = f"{len(errors):,}", f"{errors[len(errors) // 2]:.2g}", f"{errors[-1]:.2g}", f"{limit:g}"
                rows.append((backend.name, kind, *figures, unit))
    return _table(rows)


def summary(records: Mapping[int, Record], wanted: int) -> str:
    """The whole campaign in a page: counts, operations, errors by backend, failures and how to see them again."""
    operations = Counter(operation for record in records.values() for operation in record["operations"])
    tasks = Counter(record["tasks"] for record in records.values() if record["tasks"])
    failed = {number: record for number, record in sorted(records.items()) if record["failures"]}
    present = {backend.name for backend in available()}
    absent = [backend.name for backend in BACKENDS if backend.name not in present]
    lines = [
        f"cases: {len(records):,} of {wanted:,}, {len(failed):,} failed",
        f"task sets run on every backend: {sum(record['task_sets'] for record in records.values()):,}",
        "networks by number of tasks: " + ", ".join(f"{count}: {tasks[count]:,}" for count in sorted(tasks)),
        "cases with each operation: " + ", ".join(f"{name} {operations[name]:,}" for name in sorted(operations)),
        f"operations that no case has: {', '.join(sorted(COVERED - set(operations))) or 'none'}",
        f"backends that are not installed: {', '.join(absent) or 'none'}",
        f"seconds in cases: {sum(record['seconds'] for record in records.values()):,.0f}",
        "",
        *_errors(records),
    ]
    for number, record in list(failed.items())[:MOST_FAILURES]:
        lines += ["", f"python -m tests.campaign --case {number}"]
        lines += [f"  {failure}" for failure in record["failures"][:3]]
        lines += [f"  and {len(record['failures']) - 3} more"] if len(record["failures"]) > 3 else []
    if len(failed) > MOST_FAILURES:
        lines += ["", f"and {len(failed) - MOST_FAILURES:,} more cases"]
    return "\n".join(lines)
