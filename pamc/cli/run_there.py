"""`pamc run --device`: a bundle's tasks on a device that has the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pamc.bundle import MANIFEST, Bundle, open_bundle
from pamc.errors import ConfigError
from pamc.task_sets import parse_task_set

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc_devices.deploy import Deployed

__all__ = ["run_there"]


def run_there(
    url: str, path: Path, tasks: Sequence[str], x: NDArray[np.generic], where: str
) -> dict[str, NDArray[np.float32]]:
    """Outputs by task, in task order, for one sample or a batch ``x``; each sample is an inference of its own.

    ``where`` names the input in messages. Raises ConfigError for unknown tasks, for another shape or dtype than the
    input's, and where this very bundle with this task set is not in use on the device.
    """
    from pamc_devices.deploy import current
    from pamc_devices.find import opened
    from pamc_devices.inference import infer
    from pamc_devices.lock import locked

    bundle = open_bundle(path)
    task_set = _task_set(bundle, tasks)
    samples, alone = _samples(bundle, x, where)
    with opened(url) as device, locked(device, "pamc run"):
        deployed = current(device, bundle.manifest.name)
        _check_deployed(bundle, deployed, task_set)
        found = [infer(deployed, task_set, sample) for sample in samples]
    if alone:
        return found[0]
    return {task: np.stack([outputs[task] for outputs in found]) for task in task_set.split("+")}


def _task_set(bundle: Bundle, tasks: Sequence[str]) -> str:
    names = bundle.manifest.task_names
    try:
        return parse_task_set("+".join(dict.fromkeys(tasks)), names)
    except ValueError as error:
        raise ConfigError(str(error), cure=f"the bundle has: {', '.join(names)}") from error


def _samples(bundle: Bundle, x: NDArray[np.generic], where: str) -> tuple[NDArray[np.generic], bool]:
    """``x`` with a batch axis, and whether it had none."""
    wanted = bundle.manifest.input
    alone = x.ndim == len(wanted.shape)
    samples = x[None] if alone else x
    if samples.shape[1:] != wanted.shape or samples.dtype != np.dtype(wanted.dtype) or not len(samples):
        raise ConfigError(
            f"x is {x.dtype} of shape {x.shape}, the input is {wanted.dtype} of shape {wanted.shape} or (n, *shape)",
            where=where,
            cure="save an array of that shape with numpy.save",
        )
    return samples, alone


def _check_deployed(bundle: Bundle, deployed: Deployed, task_set: str) -> None:
    deployment, url = deployed.deployment, deployed.device.url
    manifest = hashlib.sha256(bundle.file(MANIFEST).read_bytes()).hexdigest()
    if deployment.files[f"bundle/{MANIFEST}"].sha256 != manifest:
        raise ConfigError(
            f"another build of {deployment.name} is in use there", where=url, cure="deploy this one with `pamc deploy`"
        )
    if task_set not in deployment.task_sets:
        raise ConfigError(
            f"task set {task_set} was not deployed",
            where=url,
            cure=f"deploy it too, or use one of: {', '.join(deployment.task_sets)}",
        )
