"""Makes everything that boards need: `python -m tests.boards.setup`. Once some minutes, then at once.

Programs come from Debian by apt-get where this runs as root; roots and Android's daemon go to pamc's cache.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from pamc.errors import PamcError
from pamc_devices.boardfiles import BOARDS
from pamc_devices.roots import board_root, make_root
from tests.boards.adbd import build_adbd
from tests.boards.machine import install, obstacle
from tests.boards.roots import ANDROID, ARM64, ARMV7, SSH_SERVER

_BEGAN = time.monotonic()


def _say(text: str) -> None:
    sys.stderr.write(f"[{time.monotonic() - _BEGAN:4.0f} s] {text}\n")


def _roots() -> None:
    for root in (ARM64, SSH_SERVER, ANDROID, ARMV7):
        make_root(root, _say)
    for name, board in BOARDS.items():
        board_root(name, board, _say)


def main() -> int:
    """0 when boards can be started, or when they cannot be on this machine and CI is not set; 1 for a failure."""
    try:
        install(_say)
        if reason := obstacle():
            _say(f"no boards here: {reason}")
            return 1 if os.environ.get("CI") else 0
        with ThreadPoolExecutor(2) as pool:
            for work in [pool.submit(_roots), pool.submit(build_adbd, _say)]:
                work.result()
    except (PamcError, RuntimeError) as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
