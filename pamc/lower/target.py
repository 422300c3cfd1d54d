"""Targets: what lowering and export must know about a kind of device. Each is a YAML file beside this module."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

from pamc.errors import ConfigError, InternalError, OutputError
from pamc.lower.cost_model import Costs
from pamc.registry import did_you_mean

__all__ = ["RUNTIMES", "Target", "costs_text", "load_target", "read_costs", "target_names", "write_costs"]

RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}
"""The runtime that opens the files of a format."""


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of device.

    ``channel_tile`` is the number of channels that its kernels work on at once, ``threads`` the default number of
    threads of one inference, ``onnx_opset`` and ``onnx_ir_version`` the newest ONNX that its runtimes surely read.
    ``costs`` are what operations take there in one runtime; None where nobody knows, and then lowering folds
    and splits nothing.
    """

    name: str
    description: str
    arch: str
    channel_tile: int
    threads: int
    onnx_opset: int
    onnx_ir_version: int
    costs: Costs | None = None

    def with_costs(self, path: Path) -> Target:
        """The target with the costs of a file that `pamc calibrate` wrote. Raises ConfigError for any other file."""
        return replace(self, costs=read_costs(path))


def target_names() -> tuple[str, ...]:
    """Names of the targets that come with pamc, in alphabetical order."""
    names = (entry.name for entry in files("pamc.lower").joinpath("targets").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def _parse(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


def costs_text(costs: Costs) -> str:
    """The text of a file of costs, the same for the same costs."""
    from ruamel.yaml import YAML

    text = StringIO()
    YAML(pure=True).dump(costs.as_data(), text)
    return text.getvalue()


def read_costs(path: Path) -> Costs:
    """The costs in a file. Raises ConfigError when there are none."""
    from ruamel.yaml.error import YAMLError

    try:
        return Costs.from_data(_parse(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, YAMLError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"the costs cannot be read: {said}", where=str(path), cure="write them with pamc calibrate"
        ) from error


def write_costs(path: Path, costs: Costs) -> None:
    """Write costs to a file, whose folder is made. Raises OutputError when that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(costs_text(costs), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"the costs cannot be written: {error}", where=str(path), cure="choose another --out"
        ) from error


@cache
def load_target(name: str, runtime: str = "onnxruntime") -> Target:
    """The target called ``name``, with its costs in ``runtime`` where they are known.

    Raises ConfigError with the nearest name when there is no such target.
    """
    names = target_names()
    if name not in names:
        raise ConfigError(f"unknown target '{name}'{did_you_mean(name, names)}", cure=f"use one of: {', '.join(names)}")
    folder = files("pamc.lower").joinpath("targets")
    data = _parse(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    expected = {field.name for field in fields(Target)} - {"name", "costs"}
    if not isinstance(data, dict) or set(data) != expected:
        raise InternalError(f"target file {name}.yaml must hold exactly {sorted(expected)}")
    measured = folder.joinpath("costs", f"{name}.{runtime}.yaml")
    costs = Costs.from_data(_parse(measured.read_text(encoding="utf-8"))) if measured.is_file() else None
    return Target(name=name, costs=costs, **data)
