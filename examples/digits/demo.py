"""Trains the digits networks where needed, builds their multitask bundle and shows what it gained.

Works from any folder. Arguments are handed on to `pamc build`: `python demo.py --target x86_64`.
"""

import subprocess
import sys
from pathlib import Path

import data
import train

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(__file__).resolve().with_name("model.yaml")
BUNDLE = ROOT / "build" / "digits"


def main(arguments: list[str]) -> int:
    """The exit code of `pamc build`, which prints the table of all task sets when it succeeds."""
    print("The three single-task networks:", flush=True)
    try:
        train.ensure()
    except data.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "pamc", "build", str(MODEL), "--out", str(BUNDLE)]
    command += arguments or ["--target", "arm64"]
    print("\n$ pamc", *command[3:], flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    report = BUNDLE / "report.html"
    if code == 0 and report.exists():
        print(f"\nThe full report, with plots: {report}")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
