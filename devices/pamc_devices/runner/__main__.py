"""Build the runners: python -m pamc_devices.runner FOLDER [PLATFORM ...]."""

from __future__ import annotations

import sys
from pathlib import Path

from pamc.errors import PamcError
from pamc_devices.runner.compile import build_runner
from pamc_devices.runner.platforms import PLATFORMS


def main(arguments: list[str]) -> int:
    """Build for the platforms named, or for all, into ``FOLDER/<platform>/``. Returns the exit status."""
    folder, *names = arguments or ["--help"]
    if folder.startswith("-") or (unknown := [name for name in names if name not in PLATFORMS]):
        named = f"unknown: {', '.join(unknown)}\n" if not folder.startswith("-") else ""
        sys.stderr.write(f"{named}usage: python -m pamc_devices.runner FOLDER [{'|'.join(PLATFORMS)}]...\n")
        return 2
    for name in names or PLATFORMS:
        try:
            path = build_runner(PLATFORMS[name], Path(folder, name))
        except PamcError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
