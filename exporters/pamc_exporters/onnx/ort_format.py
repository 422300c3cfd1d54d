"""Networks in ONNX Runtime's own format, for builds of it that hold only the operators needed.

Each ``ort/<task set>.ort`` holds its weights; this format can not share them. ``required_operators_and_types.config``
is what such a build of ONNX Runtime is configured with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc.errors import InternalError
from pamc.lower import load_target
from pamc_exporters.onnx.weights import WEIGHTS

__all__ = ["FOLDER", "slice_ort", "write_ort"]

FOLDER = "ort"
CONFIG = "required_operators_and_types.config"
SECONDS = 1800
# Above this level ONNX Runtime bakes in layouts of the machine that converts.
LEVEL = "extended"
_LEVEL_VARIABLE = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"
_CONFIG_MADE = f"required_operators_and_types.{LEVEL}.config"


def _beside(path: Path, folder: Path) -> None:
    try:
        os.link(path, folder / path.name)
    except OSError:
        shutil.copyfile(path, folder / path.name)


def write_ort(models: Sequence[Path], target: str) -> tuple[Path, ...]:
    """Convert written ``models``, which lie in one folder beside weights.bin; return the files written.

    Raises InternalError when ONNX Runtime's converter fails.
    """
    directory = models[0].parent
    out = directory / FOLDER
    out.mkdir(exist_ok=True)
    platform = "amd64" if load_target(target).arch == "x86_64" else "arm"
    with TemporaryDirectory(prefix=".ort-", dir=directory) as name:
        given, made = Path(name, "given"), Path(name, "made")
        given.mkdir()
        for path in (*models, directory / WEIGHTS):
            _beside(path, given)
        command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", str(given)]
        command += ["--output_dir", str(made), "--optimization_style", "Fixed", "--enable_type_reduction"]
        command += ["--target_platform", platform]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, _LEVEL_VARIABLE: LEVEL},
        )
        # The converter puts the level into every name.
        names = {f"{path.stem}.{LEVEL}.ort": f"{path.stem}.ort" for path in models} | {_CONFIG_MADE: CONFIG}
        if done.returncode != 0 or not all((made / name).is_file() for name in names):
            raise InternalError(
                f"ONNX Runtime's converter failed with exit code {done.returncode}",
                why=(done.stderr.strip().splitlines() or ["it printed nothing"])[-1],
            )
        return tuple((made / old).replace(out / new) for old, new in names.items())


def slice_ort(source: Path, stems: Sequence[str], target: Path) -> tuple[Path, ...]:
    """Copy the files of some task sets, if ``source`` has any; the configuration stays that of all."""
    names = [*(f"{stem}.ort" for stem in stems), CONFIG]
    if not (source / FOLDER).is_dir():
        return ()
    (target / FOLDER).mkdir()
    return tuple(Path(shutil.copyfile(source / FOLDER / name, target / FOLDER / name)) for name in names)
