"""What `pamc check` says: everything that is wrong with every network, and what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pamc.capture.align import AlignReport, align_report
from pamc.errors import ConfigError, Finding, PamcError, Problem, UnsupportedModelError
from pamc.graph import Graph

__all__ = ["CheckReport", "NetworkCheck", "check_networks"]


@dataclass(frozen=True)
class NetworkCheck:
    """One network: its operations by kind, or why it cannot be compiled. ``notes`` are worth knowing."""

    name: str
    ops: Mapping[str, int]
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """All networks; ``align`` is None when they cannot be put side by side, for the reasons in ``mismatches``."""

    networks: tuple[NetworkCheck, ...]
    align: AlignReport | None = None
    mismatches: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that cannot be compiled, network by network."""
        return tuple(finding for item in self.networks for finding in item.findings) + self.mismatches

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything else that is wrong: user code, weights."""
        return tuple(problem for item in self.networks for problem in item.problems)

    @property
    def ok(self) -> bool:
        """Whether the networks can be compiled."""
        return not self.findings and not self.problems

    def error(self) -> PamcError | None:
        """One error that stands for everything found; None when there is nothing."""
        if self.problems:
            return ConfigError.many([*self.problems, *(Problem(str(finding)) for finding in self.findings)])
        if self.findings:
            return UnsupportedModelError("the networks cannot be compiled", findings=self.findings)
        return None

    def render(self) -> str:
        """Plain text: a table of findings, the problems, and what is supported and shared."""
        lines = []
        if self.findings:
            rows = [
                (item.network, item.op, item.module_path or "-", item.location or "-", item.why, item.cure)
                for item in self.findings
            ]
            lines += [*_table(("network", "op", "module", "location", "why", "what to do"), rows), ""]
        if self.problems:
            lines += [*(str(problem) for problem in self.problems), ""]
        for item in self.networks:
            if item.ops:
                counts = ", ".join(f"{count} {kind}" for kind, count in item.ops.items())
                lines.append(f"{item.name}: {counts}")
            lines += [f"  note: {note}" for note in item.notes]
        if self.align is not None:
            lines += ["", "in common:", *("  " + line for line in self.align.render().splitlines())]
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "ok": self.ok,
            "networks": [
                {
                    "name": item.name,
                    "ops": dict(item.ops),
                    "findings": [asdict(finding) for finding in item.findings],
                    "problems": [asdict(problem) for problem in item.problems],
                    "notes": list(item.notes),
                }
                for item in self.networks
            ],
            "mismatches": [asdict(finding) for finding in self.mismatches],
            "align": None
            if self.align is None
            else [
                {
                    "task": item.task,
                    "layers": item.layers,
                    "shared": {"+".join(tasks): count for tasks, count in item.shared.items()},
                    "diverges": None if item.diverges is None else asdict(item.diverges),
                }
                for item in self.align.networks
            ],
        }


def check_networks(networks: Mapping[str, Callable[[], Graph]]) -> CheckReport:
    """Try every network: each function builds, loads and captures one. Only errors of pamc are collected."""
    graphs: dict[str, Graph] = {}
    checks = []
    for name, make in networks.items():
        try:
            graphs[name] = make()
        except UnsupportedModelError as error:
            found = error.findings or (Finding(name, "network", "", error.where or "", error.what, error.cure or ""),)
            checks.append(NetworkCheck(name, {}, findings=found))
        except ConfigError as error:
            checks.append(NetworkCheck(name, {}, problems=error.problems))
        except PamcError as error:
            problem = Problem(f"{name}: {error.what}", error.where, error.why, error.cure)
            checks.append(NetworkCheck(name, {}, problems=(problem,)))
        else:
            kinds = Counter(node.op.kind for node in graphs[name].nodes if node.inputs)
            checks.append(NetworkCheck(name, dict(sorted(kinds.items())), notes=_notes(graphs[name])))
    align: AlignReport | None = None
    mismatches: tuple[Finding, ...] = ()
    if len(graphs) > 1:
        try:
            align = align_report(graphs)
        except UnsupportedModelError as error:
            mismatches = error.findings
    return CheckReport(tuple(checks), align, mismatches)


def _notes(graph: Graph) -> tuple[str, ...]:
    uses: dict[tuple[str, str], list[np.ndarray]] = {}
    for node in graph.nodes:
        if "weight" in node.params:
            uses.setdefault((node.origin.module, node.origin.location), []).append(graph.array(node, "weight"))
    return tuple(
        f"{module} is used {len(arrays)} times: its weights are copied for each use"
        for (module, _), arrays in uses.items()
        if len(arrays) > 1 and all(np.array_equal(arrays[0], array) for array in arrays)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return [line.rstrip() for line in lines]
