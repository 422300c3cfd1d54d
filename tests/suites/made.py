"""Results files of suites with figures made up for a test."""

from typing import Any

from benchmarks.suites.paper.results import Results


def cell(row: str, seed: int, flops: tuple[float, float, float], accuracy: tuple[float, float]) -> dict[str, Any]:
    """Costs of A, B and A+B in MFLOPs, and the accuracies of A and B."""
    return _common(row, seed) | {"accuracies": dict(zip("AB", accuracy, strict=True)), "costs": _costs(flops)}


def missed(row: str, seed: int) -> dict[str, Any]:
    """A cell that kept no budget."""
    return _common(row, seed) | {"missed": "too much"}


def _common(row: str, seed: int) -> dict[str, Any]:
    return {
        "row": row,
        "pruner": "taylor",
        "seed": seed,
        "tasks": ["A", "B"],
        "merge": {"method": row, "options": {}},
        "prune": {"method": "taylor", "options": {}},
        "originals": {"A": 97.0, "B": 95.0},
        "unpruned": _costs((100.0, 100.0, 200.0)),
        "seconds": {"prepare": 1.0, "prune": 2.0},
    }


def held(*cells: dict[str, Any], budget: float = 1.0) -> Results:
    """Results of the suite `paper-table` at a budget."""
    sizes = {"train": 1, "validation": 1, "test": 1}
    networks = {"data": "composites", "net": "lenet", "sizes": sizes, "epochs": 1}
    return Results(
        {
            "suite": "paper-table",
            "title": "Title",
            "scale": "small",
            "command": f"command of {budget:g}",
            "version": 3,
            "machine": "machine",
            "setup": {"max_drop": budget, "finetune": 8, "networks": networks},
            "cells": [*cells],
        }
    )


def _costs(flops: tuple[float, float, float]) -> dict[str, dict[str, int]]:
    return {
        name: {"flops": round(value * 1e6), "macs": round(value * 5e5), "params": 1000}
        for name, value in zip(("A", "B", "A+B"), flops, strict=True)
    }
