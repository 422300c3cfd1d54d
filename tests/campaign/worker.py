"""One process of the campaign: a share of the cases, one line of JSON per case into a file of its own.

A line ``{"started": N}`` goes before each case, so that whoever reads the file knows at which case a process died.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from tests.campaign.choices import seeded
from tests.campaign.comparing import try_case
from tests.campaign.ledger import finished

__all__ = ["work"]

SECONDS_PER_CASE = 300


def _late(signum: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"not done after {SECONDS_PER_CASE} s")


def work(path: Path, numbers: range) -> None:
    """Run the cases ``numbers``, but those that the folder of ``path`` has, and append their outcomes to ``path``."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _late)
    done = finished(path.parent)
    with path.open("a", encoding="utf-8") as file:
        for number in numbers:
            if number in done:
                continue
            file.write(json.dumps({"started": number}) + "\n")
            file.flush()
            signal.alarm(SECONDS_PER_CASE)
            outcome = try_case(seeded(number))
            signal.alarm(0)
            file.write(json.dumps({"case": number, **asdict(outcome)}) + "\n")
            file.flush()


if __name__ == "__main__":
    place, first, end, step = sys.argv[1:]
    work(Path(place), range(int(first), int(end), int(step)))
