"""The ONNX exporter: writes plans, opens them, composes task sets that were not written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pamc.errors import OutputError
from pamc_exporters.onnx.session import OnnxSession, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnx import ModelProto

    from pamc.lower import Plan

__all__ = ["OnnxExporter", "file_name"]

_LONGEST = 100


def file_name(task_set: str) -> str:
    """Name of a task set's file; a long one is cut and made unique by a digest."""
    if len(task_set) > _LONGEST:
        task_set = f"{task_set[:_LONGEST]}~{hashlib.sha256(task_set.encode()).hexdigest()[:16]}"
    return f"{task_set}.onnx"


def _composed(plan: Plan, directory: Path) -> ModelProto:
    from pamc_exporters.onnx.emit import to_model
    from pamc_exporters.onnx.weights import as_stored, read_index

    index = read_index(directory)
    stored = {name: index[name] for name in plan.graph.params if name in index}
    for name, place in stored.items():
        array = as_stored(plan.graph.params[name])
        if (place.shape, place.sha256) != (array.shape, hashlib.sha256(array.data).hexdigest()):
            raise OutputError(
                f"the weights {name} are not those of the multitask network",
                where=str(directory),
                why="the bundle mixes files of different builds",
                cure="copy or build it again",
            )
    return to_model(plan, stored, {})


class OnnxExporter:
    """``<task set>.onnx`` for each plan over one ``weights.bin``; see :mod:`pamc_exporters.onnx.weights`."""

    name = "onnx"

    def write(self, plans: Mapping[str, Plan], directory: Path, metadata: Mapping[str, str]) -> tuple[Path, ...]:
        """Write the networks of ``plans`` (by task set) into the existing folder ``directory``.

        Every model passes ``onnx.checker`` and has the plan's shapes before it gets its name. Raises InternalError
        when one does not; OSErrors pass through.
        """
        from pamc_exporters.onnx.check import check_file, check_shapes
        from pamc_exporters.onnx.emit import to_model
        from pamc_exporters.onnx.weights import collect, lay_out, write_weights

        weights = collect(plans.values())
        stored = lay_out(weights)
        written = [*write_weights(weights, stored, directory)]
        for task_set, plan in plans.items():
            model = to_model(plan, stored, metadata)
            check_shapes(model, plan)
            path = directory / file_name(task_set)
            temporary = directory / f".{path.name}.tmp"
            temporary.write_bytes(model.SerializeToString(deterministic=True))
            try:
                check_file(temporary, plan)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            written.append(path)
        return tuple(written)

    def files(self, task_set: str) -> tuple[str, ...]:
        """The network of a task set, the weights that all share, and the index by which others are composed."""
        from pamc_exporters.onnx.weights import INDEX, WEIGHTS

        return file_name(task_set), WEIGHTS, INDEX

    def open(self, directory: Path, task_set: str, threads: int = 1) -> OnnxSession:
        """A session over a written network. Raises OutputError when its files are missing or damaged."""
        path = directory / file_name(task_set)
        if not path.is_file():
            raise OutputError(
                f"there is no ONNX network for {task_set}", where=str(path), cure="copy or build the bundle again"
            )
        return open_session(path, directory, threads)

    def compose(self, plan: Plan, directory: Path, threads: int = 1) -> OnnxSession:
        """A session over a plan that was not written, over the weights that were.

        Groups that no written network has bring their weights along from the plan. Raises OutputError when
        weights.json disagrees with the plan.
        """
        model = _composed(plan, directory).SerializeToString(deterministic=True)
        return open_session(model, directory, threads)

    def trace(self, plan: Plan, directory: Path, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Every value inside the network of a plan, written or composed, for a batch ``x``; by the plan's names."""
        import onnx

        from pamc_exporters.onnx.emit import value_names

        path = directory / file_name(plan.task_set)
        model = onnx.load(path, load_external_data=False) if path.is_file() else _composed(plan, directory)
        produced = {output for node in model.graph.node for output in node.output}
        exposed = {info.name for info in model.graph.output}
        names = {value: name for value, name in value_names(plan.graph).items() if name in produced}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values() if name not in exposed)
        outputs = open_session(model.SerializeToString(deterministic=True), directory, 1).run(x)
        return {value: outputs[name] for value, name in names.items()}
