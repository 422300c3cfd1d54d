"""One inference on a device: the input goes there as a file, and the outputs come back as files."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pamc_devices.deploy import Deployed
from pamc_devices.messages import Output
from pamc_devices.states import DamagedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["infer"]

_SECONDS = 600.0


def infer(
    deployed: Deployed, task_set: str, sample: NDArray[np.generic], *, threads: int = 1
) -> dict[str, NDArray[np.float32]]:
    """Outputs by task, in task order, for one ``sample`` of the input's shape and dtype, without a batch axis.

    ``task_set`` is one of the deployment. Raises DamagedError when what comes back is not what the runner announced,
    and the states of `pamc_devices.states`.
    """
    little = np.ascontiguousarray(sample).astype(sample.dtype.newbyteorder("<"), copy=False)
    with TemporaryDirectory(prefix="pamc-run-") as here, deployed.device.tmpdir() as there:
        given = Path(here, "input.bin")
        given.write_bytes(little.tobytes())
        deployed.device.push(given, f"{there}/input.bin")
        options = ["--tasks", task_set, "--input", f"{there}/input.bin", "--output", f"{there}/outputs"]
        messages = deployed.ask("run", *options, "--threads", str(threads), timeout=_SECONDS)
        outputs = [line for line in messages if isinstance(line, Output)]
        if [line.task for line in outputs] != task_set.split("+"):
            raise _damaged(f"the runner answered for {[line.task for line in outputs]}, not for {task_set}", deployed)
        return {line.task: _read(deployed, line, f"{there}/outputs", Path(here)) for line in outputs}


def _read(deployed: Deployed, output: Output, folder: str, here: Path) -> NDArray[np.float32]:
    file = here / output.file
    deployed.device.pull(f"{folder}/{output.file}", file)
    data = file.read_bytes()
    if len(data) != 4 * math.prod(output.shape) or output.shape[:1] != (1,):
        raise _damaged(f"the output of {output.task} is of another size than the runner announced", deployed)
    values: NDArray[np.float32] = np.frombuffer(data, "<f4").astype(np.float32).reshape(output.shape[1:])
    return values


def _damaged(what: str, deployed: Deployed) -> DamagedError:
    return DamagedError(what, where=deployed.device.url, cure="run it again; then deploy the bundle again")
