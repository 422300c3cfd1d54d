"""The TFLite exporter: writes plans, opens them, composes task sets that were not written, cuts files down."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pamc import __version__
from pamc.errors import InternalError, OutputError
from pamc.registry import NoOptions, read_options
from pamc_exporters.tflite.session import TfliteSession, open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pamc.lower import Plan
    from pamc.lower.numerics import Range
    from pamc_exporters.tflite.emit import Emitted
    from pamc_exporters.tflite.model import Model

__all__ = ["FILE", "TfliteExporter", "slice_model", "to_model"]

FILE = "model.tflite"
ABOUT = "pamc"
RANGES = "pamc.ranges"
_AGAIN = "copy or build the bundle again"


def _check_params(plans: Iterable[Plan]) -> None:
    found: dict[str, NDArray[np.floating]] = {}
    for plan in plans:
        for name, array in plan.graph.params.items():
            other = found.setdefault(name, array)
            if other is not array and not np.array_equal(other, array):
                raise InternalError(f"parameter {name} differs between task sets")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def to_model(plans: Mapping[str, Plan], metadata: Mapping[str, str]) -> Model:
    """All plans, by task set, as one file. Raises InternalError when they disagree about a parameter."""
    from pamc_exporters.tflite.draft import Constants
    from pamc_exporters.tflite.emit import emit
    from pamc_exporters.tflite.model import Model, digest
    from pamc_exporters.tflite.scales import widened

    _check_params(plans.values())
    (kind,) = {plan.kind for plan in plans.values()}
    (target,) = {plan.target for plan in plans.values()}
    wider = widened(plans.values()) if kind == "int8" else {}
    constants = Constants()
    subgraphs = tuple(emit(plan, constants, wider).subgraph for plan in plans.values())
    own = {"pamc.numbers": kind, "pamc.target": target, "pamc.version": __version__}
    held = {ABOUT: _json({**metadata, **own}), **({RANGES: _json(wider)} if wider else {})}
    return Model(subgraphs, held, {digest(name): data for name, data in constants.weights.items()})


def _read(data: bytes | mmap, task_sets: Collection[str], where: str) -> Model:
    from pamc_exporters.tflite.decode import decode

    try:
        model = decode(data, task_sets)
    except ValueError as error:
        raise OutputError(f"the TFLite file cannot be read: {error}", where=where, cure=_AGAIN) from error
    held = {subgraph.name for subgraph in model.subgraphs}
    if missing := [name for name in task_sets if name not in held]:
        raise OutputError(f"there is no TFLite network for {missing[0]}", where=where, cure=_AGAIN)
    return model


def _open(directory: Path, task_sets: Collection[str]) -> Model:
    path = directory / FILE
    try:
        with path.open("rb") as file:
            data = mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError) as error:
        raise OutputError(f"the TFLite file cannot be read: {error}", where=str(path), cure=_AGAIN) from error
    return _read(data, task_sets, str(path))


def slice_model(data: bytes, task_sets: Collection[str]) -> bytes:
    """The file with only some of its task sets, in the file's order, and the weights that they need.

    They compute bit for bit the same. Raises OutputError for a damaged file and for a task set that it lacks.
    """
    from pamc_exporters.tflite.encode import encode

    return encode(_read(data, task_sets, FILE))


def _composed(plan: Plan, directory: Path) -> tuple[Emitted, Model]:
    """The subgraph of a plan at the scales of the file, and the file without its subgraphs."""
    from pamc_exporters.tflite.draft import Constants
    from pamc_exporters.tflite.emit import emit
    from pamc_exporters.tflite.model import digest

    model, where = _open(directory, ()), str(directory / FILE)
    try:
        kind = json.loads(model.metadata[ABOUT])["pamc.numbers"]
        ranges = json.loads(model.metadata.get(RANGES, b"{}"))
        wider: dict[str, Range] = {name: (low, high) for name, (low, high) in ranges.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"the TFLite file cannot be read: {error}", where=where, cure=_AGAIN) from error
    if kind != plan.kind:
        raise OutputError(f"the TFLite file holds {kind} numbers, not {plan.kind}", where=where, cure=_AGAIN)
    constants = Constants()
    emitted = emit(plan, constants, wider)
    for name, data in constants.weights.items():
        stored = model.weights.get(digest(name))
        if stored is not None and not np.array_equal(stored.array, data.array):
            raise OutputError(
                f"the weights {name} are not those of the multitask network",
                where=where,
                why="the bundle mixes files of different builds",
                cure="copy or build it again",
            )
    return emitted, model


class TfliteExporter:
    """``model.tflite``: one subgraph and signature per task set, over buffers that all of them share."""

    name = "tflite"

    def parse_options(self, values: Mapping[str, object]) -> NoOptions:
        """There are none. ConfigError with everything wrong; ``where`` of a problem is the key."""
        options: NoOptions = read_options("format 'tflite'", NoOptions, values)
        return options

    def write(
        self,
        plans: Mapping[str, Plan],
        directory: Path,
        metadata: Mapping[str, str],
        options: Mapping[str, object] = {},
    ) -> tuple[Path, ...]:
        """Write the networks of ``plans`` (by task set) into the existing folder ``directory``.

        Raises InternalError when plans disagree about a parameter, ConfigError without LiteRT and for more than
        2 GiB; OSErrors pass through.
        """
        from pamc_exporters.tflite.encode import encode

        path = directory / FILE
        # Never into the old file: a session may have its pages mapped.
        temporary = directory / f".{FILE}.tmp"
        temporary.write_bytes(encode(to_model(plans, metadata)))
        temporary.replace(path)
        return (path,)

    def files(self, task_set: str) -> tuple[str, ...]:
        """All task sets are in one file."""
        return (FILE,)

    def open(self, directory: Path, task_set: str, threads: int = 1) -> TfliteSession:
        """A session over a written network. Raises OutputError when the file is missing, damaged or lacks it."""
        return open_session(_open(directory, [task_set]), threads, str(directory / FILE))

    def compose(self, plan: Plan, directory: Path, threads: int = 1) -> TfliteSession:
        """A session over a plan that was not written.

        Weights that the file also has must be the same, byte for byte; OutputError otherwise. Groups that no written
        network has bring theirs along from the plan.
        """
        emitted, model = _composed(plan, directory)
        return open_session(replace(model, subgraphs=(emitted.subgraph,)), threads, str(directory / FILE))

    def trace(self, plan: Plan, directory: Path, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """The values inside the network of a plan, written or composed, for a batch ``x``; by the plan's names.

        Values that exist only inside an operator, as before a rectifier that a convolution applies, are missing.
        """
        from pamc_exporters.tflite.decode import task_sets
        from pamc_exporters.tflite.emit import logical

        emitted, model = _composed(plan, directory)
        subgraph = emitted.subgraph
        if plan.task_set in task_sets((directory / FILE).read_bytes()):
            (subgraph,) = _open(directory, [plan.task_set]).subgraphs
            if [operator.code for operator in subgraph.operators] != [
                operator.code for operator in emitted.subgraph.operators
            ]:
                raise OutputError(f"the network of {plan.task_set} has other operators than its plan")
        (given,) = subgraph.inputs.values()
        shown = {str(held.tensor): held.tensor for held in emitted.values.values() if held.tensor != given}
        session = open_session(replace(model, subgraphs=(replace(subgraph, outputs=shown),)), 1, str(directory / FILE))
        arrays = {**session.run(x), str(given): x}
        return {
            value: logical(held, arrays[str(held.tensor)], plan.graph.shapes[value])
            for value, held in emitted.values.items()
        }

    def slice(self, source: Path, task_sets: Sequence[str], target: Path) -> tuple[Path, ...]:
        """Write the file in ``source`` with only ``task_sets`` into the existing folder ``target``; return its path.

        Raises OutputError for a damaged file and for a task set that it lacks.
        """
        from pamc_exporters.tflite.encode import encode

        content = encode(_open(source, task_sets))
        path = target / FILE
        path.write_bytes(content)
        return (path,)
