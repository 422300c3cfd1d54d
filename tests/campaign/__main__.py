"""``python -m tests.campaign``: run the campaign, or see one case again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tests.campaign.cases import draw_case
from tests.campaign.choices import Choices, replay, seeded, shrink
from tests.campaign.comparing import try_case
from tests.campaign.ledger import bury, finished, summary

APART = 1_000_000
ROOT = Path(__file__).parents[2]
SECONDS_BETWEEN_NOTES = 30


def _spawn(path: Path, numbers: range) -> subprocess.Popen[bytes]:
    bounds = [str(bound) for bound in (numbers.start, numbers.stop, numbers.step)]
    command = [sys.executable, "-m", "tests.campaign.worker", str(path), *bounds]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _campaign(folder: Path, first: int, cases: int, jobs: int) -> Mapping[int, Mapping[str, Any]]:
    """All cases, each of ``jobs`` processes a share; one that died is started again behind the case that killed it."""
    folder.mkdir(parents=True, exist_ok=True)
    # Whoever ends this process ends its workers.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    shares = {folder / f"worker-{job}.jsonl": range(first + job, first + cases, jobs) for job in range(jobs)}
    running = {path: _spawn(path, share) for path, share in shares.items()}
    told = time.monotonic()
    try:
        while running:
            time.sleep(0.5)
            for path, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[path]
                if process.returncode:
                    if not bury(path, process.returncode):
                        raise click.ClickException("a worker cannot start; its words are above")
                    running[path] = _spawn(path, shares[path])
            if time.monotonic() - told > SECONDS_BETWEEN_NOTES:
                told = time.monotonic()
                done = finished(folder)
                failed = sum(bool(record["failures"]) for record in done.values())
                click.echo(f"{len(done):,} of {cases:,} cases, {failed:,} failed", err=True)
    finally:
        for process in running.values():
            process.terminate()
    return {number: record for number, record in finished(folder).items() if first <= number < first + cases}


def _show(choices: Choices) -> bool:
    """Describe a case and its failures; whether it failed."""
    case = draw_case(choices)
    outcome = try_case(replay(choices.made))
    click.echo(case.describe())
    for node in case.net.graph.nodes:
        click.echo(f"  {node.name}({', '.join(node.inputs)}) {node.op} -> {case.net.graph.shapes[node.name]}")
    for space, owners in case.net.owners.items():
        click.echo(f"  owners of {space}: {owners.tolist()}")
    for name, error in outcome.worst.items():
        click.echo(f"{name}: {error:.3g}")
    click.echo("\n".join(outcome.failures) or "no failure")
    return bool(outcome.failures)


def _smaller(case: int) -> Choices:
    """The smallest network found that fails, or the case's own where that does not."""
    choices = seeded(case)
    if not try_case(choices).failures:
        return seeded(case)
    return replay(shrink(choices.made, lambda tried: bool(try_case(tried).failures), attempts=500))


@click.command()
@click.option("--cases", default=10_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=ROOT / "build" / "campaign", help="where results go")
@click.option("--again", is_flag=True, help="forget what the folder has for this seed")
@click.option("--case", type=int, help="only this case, in detail")
@click.option("--smaller", is_flag=True, help="look for a smaller network that fails as the case does")
def main(cases: int, seed: int, jobs: int, folder: Path, again: bool, case: int | None, smaller: bool) -> None:
    """Random multitask networks, every task set, on every backend. Exit status 1 when anything failed."""
    if case is not None:
        sys.exit(_show(_smaller(case) if smaller else seeded(case)))
    place = folder / f"seed-{seed}"
    if again:
        for path in place.glob("*.jsonl"):
            path.unlink()
    records = _campaign(place, seed * APART, cases, jobs)
    text = summary(records, cases)
    (place / "summary.txt").write_text(text + "\n", encoding="utf-8")
    click.echo(text)
    sys.exit(len(records) < cases or any(record["failures"] for record in records.values()))


if __name__ == "__main__":
    main()
