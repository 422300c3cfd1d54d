"""The wheel that users install, which has the C sources, the targets and the templates in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
import sys
from importlib.resources import files
from pathlib import Path
from pamc.lower.target import load_target, target_names
from pamc_bench import report
from pamc_devices import counting
from pamc_devices.board_profiles import profiles
from pamc_devices.runner import find_runner
from pamc_devices.runner.compile import sources

here = Path(sys.argv[1])
assert all(Path(module.__file__).is_relative_to(here) for module in (report, counting))
assert sources().is_relative_to(here) and find_runner("aarch64", "glibc").stat().st_size > 10_000
assert counting.sources().is_relative_to(here)
assert [load_target(name) for name in target_names()] and profiles()
assert files("pamc_bench").joinpath("templates", "report.html.j2").is_file()
"""


@pytest.mark.slow  # builds a wheel in an environment of its own, as pip does
def test_an_installed_pamc_is_whole(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("pamc-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", site, wheel], check=True)
    paths = {**os.environ, "PYTHONPATH": str(site), "PAMC_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", USE, site], check=True, cwd=tmp_path, env=paths)
    shown = subprocess.run(
        [sys.executable, "-m", "pamc", "schema"], check=True, cwd=tmp_path, env=paths, capture_output=True, text=True
    )
    assert '"effort"' in shown.stdout
