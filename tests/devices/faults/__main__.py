"""`python -m tests.devices.faults`: the campaign of real faults against real boards."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.boards.machine import obstacle
from tests.devices.faults.campaign import boards, describe, run_one


def main() -> int:
    """0 when every scenario ended as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.devices.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenarios", type=int, default=300)
    parser.add_argument("--only", type=int, help="just the scenario with this number")
    options = parser.parse_args()
    if reason := obstacle():
        sys.stderr.write(f"{reason}\n")
        return 1
    numbers = range(options.scenarios) if options.only is None else [options.only]
    failed: Counter[str] = Counter()
    began = time.monotonic()
    with TemporaryDirectory(prefix="pamc-faults-") as folder, boards(Path(folder)) as world:
        for number in numbers:
            scenario, kind = describe(number)
            start = time.monotonic()
            try:
                run_one(world, number, options.seed)
                verdict = "ok"
            except Exception:
                verdict = "FAILED"
                failed[scenario.__name__] += 1
                traceback.print_exc()
            took = time.monotonic() - start
            sys.stderr.write(f"{number:4d} {kind} {scenario.__name__:22s} {verdict} {took:5.1f} s\n")
    sys.stderr.write(
        f"{len(numbers)} scenarios, {sum(failed.values())} failed, {time.monotonic() - began:.0f} s"
        + "".join(f"\n  {name}: {count}" for name, count in failed.most_common())
        + "\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
