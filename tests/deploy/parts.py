"""Bundles, runners and devices for the tests of deploying."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pamc.bundle import GRAPH, GRAPH_WEIGHTS, VECTORS, BundleWriter, open_bundle
from pamc.bundle.numerics import NUMERICS, to_json
from pamc.graph import all_task_sets
from pamc.graph.serial import dump
from pamc.lower import FLOAT32, lower
from pamc.verify import golden_vectors
from pamc_devices.base import Device, Result
from pamc_devices.deployment import Parcel, Program, pack, task_sets_in
from pamc_devices.states import LostError
from pamc_exporters.onnx import exporter as onnx
from pamc_exporters.tflite import exporter as tflite
from tests.bundle.making import make_bundle, manifest_of
from tests.targets import ARM64
from tests.zoo.captured import aligned, images

__all__ = ["Failing", "digits_like", "parcel", "script_program", "shadow", "tree"]

# Answers as a runner does for `selftest FOLDER [--tasks SET]...`: everything is right.
HONEST = """#!/bin/sh
shift 2
lines=0
while [ $# -gt 0 ]; do
  if [ "$1" = --tasks ]; then
    rest=$2+
    while [ "$rest" ]; do
      echo '{"kind":"checked","task_set":"'"$2"'","task":"'"${rest%%+*}"'","error":0,"limit":1e-4,"ok":true}'
      lines=$((lines + 1))
      rest=${rest#*+}
    done
  fi
  shift 2
done
echo '{"kind":"end","lines":'"$lines"',"status":0}'
"""


def script_program(folder: Path, text: str = HONEST) -> Program:
    """A runner that is a shell script: it starts in no time."""
    path = folder / "runner.sh"
    path.write_text(text)
    path.chmod(0o755)
    return Program("onnxruntime", {"runner.sh": path}, ("program/runner.sh",), ())


def parcel(folder: Path, program: Program, emit: tuple[str, ...] = ("age", "smile", "age+smile")) -> Parcel:
    """A new bundle called `kit` in ``folder``, packed with all of its task sets."""
    bundle = open_bundle(make_bundle(folder, emit))
    return pack(bundle, task_sets_in(bundle, program.runtime), program)


def tree(folder: Path | str) -> dict[str, bytes]:
    """Every file below a folder."""
    root = Path(folder)
    return {path.relative_to(root).as_posix(): b"" if path.is_dir() else path.read_bytes() for path in root.rglob("*")}


@dataclass
class Failing:
    """A device whose connection breaks at call number ``last`` of `run` and `push`, or that a Ctrl-C interrupts there.

    Without ``stays`` it answers again afterwards. ``before`` the call, or else when the device has done what it should.
    """

    device: Device
    last: int
    error: Callable[[], BaseException] = field(default=lambda: LostError("the connection broke"))
    stays: bool = True
    before: bool = False
    calls: int = 0

    def __post_init__(self) -> None:
        self.url, self.emulated = self.device.url, self.device.emulated

    def _count(self) -> bool:
        self.calls += 1
        return self.calls == self.last or (self.stays and self.calls > self.last)

    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str] = {}, stdin: bytes = b"", timeout: float = 60.0
    ) -> Result:
        fails = self._count()
        if fails and (self.before or self.calls > self.last):
            raise self.error()
        result = self.device.run(argv, env=env, stdin=stdin, timeout=timeout)
        if fails:
            raise self.error()
        return result

    def push(self, source: Path, target: str) -> None:
        fails = self._count()
        if fails and (self.before or self.calls > self.last):
            raise self.error()
        self.device.push(source, target)
        if fails:
            raise self.error()

    def pull(self, source: str, target: Path) -> None:
        self.device.pull(source, target)

    def tmpdir(self) -> AbstractContextManager[str]:
        return self.device.tmpdir()

    def home(self) -> str:
        return self.device.home()

    def close(self) -> None:
        self.device.close()


def shadow(folder: Path, name: str, script: str | None) -> str:
    """A PATH on which the tool ``name`` is another one, or is missing."""
    folder.mkdir()
    found = os.environ["PATH"].split(":")
    if script is not None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
        return ":".join([str(folder), *found])
    for place in reversed(found):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            if tool.name != name:
                (folder / tool.name).unlink(missing_ok=True)
                (folder / tool.name).symlink_to(tool)
    return str(folder)


def digits_like(out: Path) -> Path:
    """A bundle of three LeNets with ONNX and TFLite networks for all seven task sets, as that of examples/digits."""
    net = aligned("lenet", 3)
    requests = list(all_task_sets(len(net.tasks)))
    plans = {plan.task_set: plan for plan in lower(net, requests, ARM64).values()}
    structure, weights = dump(net)
    x = images(net.graph, 4).numpy().astype(np.float32)
    with BundleWriter(out) as writer:
        writer.write_text(GRAPH, structure)
        writer.write_bytes(GRAPH_WEIGHTS, weights)
        writer.write_text(NUMERICS, to_json(FLOAT32))
        writer.write_bytes(VECTORS, golden_vectors(net, x, 0).to_bytes())
        files: dict[str, list[str]] = {text: [] for text in plans}
        for exporter in (onnx, tflite):
            folder = writer.root / exporter.name
            folder.mkdir()
            exporter.write(plans, folder, {})
            for text in plans:
                files[text] += [f"{exporter.name}/{file}" for file in exporter.files(text)]
        manifest = manifest_of(net, files)
        sets = {text: replace(entry, bytes={"onnx": 1, "tflite": 1}) for text, entry in manifest.task_sets.items()}
        return writer.commit(replace(manifest, name="digits", task_sets=sets, verification=()))
