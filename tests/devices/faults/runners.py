"""Faults of the real runner: the C program with ONNX Runtime, on a bundle that it can run."""

from __future__ import annotations

import os
import signal

from benchmarks.suites.noise.nets import chain_bundle
from pamc.errors import PamcError
from pamc_devices.deploy import current, self_test
from pamc_devices.deployment import pack
from pamc_devices.messages import Checked
from pamc_devices.probe import probe
from pamc_devices.states import CommandError, DamagedError, WrongArchitectureError
from tests.boards.adb import program_over_glibc
from tests.devices.faults.scene import Scene, outcome

__all__ = ["SCENARIOS"]


def real_runner(scene: Scene) -> None:
    """The runner is killed in its self-test, or it or a file that it reads is cut off; a new deployment mends it."""
    bundle = chain_bundle(scene.here / "chain", 2)
    with scene.open() as device:
        program = program_over_glibc(probe(device), "onnxruntime")
    parcel = pack(bundle, tuple(bundle.manifest.task_sets), program)
    id = scene.deploy(parcel).deployment.id
    if scene.random.random() < 0.5:
        # The table of the weights is for who writes bundles; the runner reads every other file.
        read = sorted(name for name in parcel.sources if not name.endswith("weights.json"))
        path = scene.on_disk(f"{scene.home}/store/deployments/{id}/{scene.random.choice(read)}")
        whole = path.stat().st_size
        os.truncate(path, scene.random.randrange(whole // 2, whole - whole // 8))
        found = _tested(scene, bundle.manifest.name)
        assert isinstance(found, PamcError), f"{path.name} cut off went unseen: {found}"
    else:

        def kill(number: int) -> None:
            os.kill(number, signal.SIGKILL)

        with scene.upon("pamc-runner", "selftest", act=kill, delay=scene.random.uniform(0.0, 1.0)) as killed:
            found = _tested(scene, bundle.manifest.name)
        assert killed.is_set() or not isinstance(found, PamcError), found
    if isinstance(found, PamcError):
        assert isinstance(found, DamagedError | CommandError | WrongArchitectureError), f"{found!r} {found}"
    scene.deploy(parcel)
    found = _tested(scene, bundle.manifest.name)
    assert not isinstance(found, PamcError), found


def _tested(scene: Scene, name: str) -> tuple[Checked, ...] | PamcError:
    def test() -> tuple[Checked, ...]:
        with scene.open() as device:
            return self_test(current(device, name))

    return outcome(test)


SCENARIOS = (real_runner,)
