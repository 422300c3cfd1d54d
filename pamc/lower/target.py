"""Targets: what lowering and export must know about a kind of device. Each is a YAML file beside this module."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

from pamc.errors import ConfigError, InternalError
from pamc.registry import did_you_mean

__all__ = ["Target", "load_target", "target_names"]


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of device.

    ``channel_tile`` is the number of channels that its kernels work on at once, ``threads`` the default number of
    threads of one inference, ``onnx_opset`` and ``onnx_ir_version`` the newest ONNX that its runtimes surely read.
    """

    name: str
    description: str
    arch: str
    channel_tile: int
    threads: int
    onnx_opset: int
    onnx_ir_version: int


def target_names() -> tuple[str, ...]:
    """Names of the targets that come with pamc, in alphabetical order."""
    names = (entry.name for entry in files("pamc.lower").joinpath("targets").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


@cache
def load_target(name: str) -> Target:
    """The target called ``name``. Raises ConfigError with the nearest name when there is none."""
    names = target_names()
    if name not in names:
        raise ConfigError(f"unknown target '{name}'{did_you_mean(name, names)}", cure=f"use one of: {', '.join(names)}")
    from ruamel.yaml import YAML

    text = files("pamc.lower").joinpath("targets", f"{name}.yaml").read_text(encoding="utf-8")
    data = YAML(typ="safe", pure=True).load(text)
    expected = {field.name for field in fields(Target)} - {"name"}
    if not isinstance(data, dict) or set(data) != expected:
        raise InternalError(f"target file {name}.yaml must hold exactly {sorted(expected)}")
    return Target(name=name, **data)
