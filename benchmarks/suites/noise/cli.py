"""The command line of the suite."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.suites.noise.campaign import SAME, campaign, prepared, summary
from pamc_bench.environment import describe_machine, load_average
from pamc_bench.request import COMPARING

__all__ = ["main"]

MOST_DIFFERENT = 0.05
LEAST_FOUND = 0.95


@click.command()
@click.option("--pairs", type=click.IntRange(min=1), default=200, show_default=True, help="The same network twice.")
@click.option("--planted", type=click.IntRange(min=1), default=100, show_default=True, help="5 % more work.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="File for all trials.")
def main(pairs: int, planted: int, seed: int, out: Path | None) -> None:
    """Count how often equal networks are called different, and how often a slow-down of 5 % is found.

    Exits with 1 when more than 5 % of the pairs are called different at the limit of 3 %, or less than 95 % are found.
    """
    environment = describe_machine(load=load_average())
    trials = []
    with TemporaryDirectory(prefix="pamc-noise-") as folder, prepared(Path(folder), COMPARING) as station:
        for trial in campaign(station, COMPARING, pairs, planted, seed):
            trials.append(trial)
            change = trial.change
            called = trial.called_different if trial.kind == SAME else trial.called_slower
            print(
                f"{len(trials):4} {trial.kind:8} {100 * change.value:+6.2f} % "
                f"({100 * change.low:+6.2f} to {100 * change.high:+6.2f}), {len(trial.after)} rounds, "
                f"{trial.seconds:.0f} s{': called different' if called else ''}",
                flush=True,
            )
            if out is not None:
                data = {
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "command": ["python", *sys.argv],
                    "environment": environment,
                    "load_after": load_average(),
                    "protocol": asdict(COMPARING),
                    "summary": summary(trials),
                    "trials": [asdict(item) for item in trials],
                }
                out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    found = summary(trials)
    print(json.dumps(found, indent=1))
    same = [trial for trial in trials if trial.kind == SAME]
    slower = [trial for trial in trials if trial.kind != SAME]
    different = sum(trial.called_different for trial in same) / len(same)
    hit = sum(trial.called_slower for trial in slower) / len(slower)
    sys.exit(0 if different <= MOST_DIFFERENT and hit >= LEAST_FOUND else 1)
