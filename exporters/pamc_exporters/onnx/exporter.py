"""The ONNX exporter: writes plans, opens them, composes task sets that were not written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pamc.errors import ConfigError, OutputError
from pamc.registry import read_options
from pamc_exporters.onnx.session import MaskedSession, OnnxSession, open_session, start

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from pamc.lower import Plan
    from pamc_exporters.onnx.model import Emission
    from pamc_exporters.onnx.options import OnnxOptions

__all__ = ["OnnxExporter", "file_name"]

_LONGEST = 100


def file_name(task_set: str) -> str:
    """Name of a task set's file; a long one is cut and made unique by a digest."""
    if len(task_set) > _LONGEST:
        task_set = f"{task_set[:_LONGEST]}~{hashlib.sha256(task_set.encode()).hexdigest()[:16]}"
    return f"{task_set}.onnx"


def _written(directory: Path, task_set: str) -> Path:
    path = directory / file_name(task_set)
    if not path.is_file():
        raise OutputError(
            f"there is no ONNX network for {task_set}", where=str(path), cure="copy or build the bundle again"
        )
    return path


def _composed(plan: Plan, directory: Path) -> Emission:
    from pamc_exporters.onnx.model import emit_model
    from pamc_exporters.onnx.tensors import stored_tensors
    from pamc_exporters.onnx.weights import array_at, map_weights, read_index, same

    index = read_index(directory)
    arrays = stored_tensors(plan)
    stored = {name: index[name] for name in arrays if name in index}
    data = map_weights(directory)
    for name, place in stored.items():
        if not same(array_at(data, place), arrays[name]):
            raise OutputError(
                f"the weights {name} are not those of the multitask network",
                where=str(directory),
                why="the bundle mixes files of different builds",
                cure="copy or build it again",
            )
    return emit_model(plan, stored, {})


def _write_model(model: ModelProto, path: Path, what: str) -> None:
    """Write a model beside its weights; it gets its name only when it is valid."""
    from pamc_exporters.onnx.check import check_file

    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(model.SerializeToString(deterministic=True))
    try:
        check_file(temporary, what)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_models(models: Mapping[str, ModelProto], directory: Path) -> dict[str, Path]:
    paths = {task_set: directory / file_name(task_set) for task_set in models}
    for task_set, path in paths.items():
        _write_model(models[task_set], path, task_set)
    return paths


def _in_order(plans: Iterable[Plan]) -> list[str]:
    """The tasks of the plans, in task order: a plan's request has a bit for each of its tasks."""
    found: dict[int, str] = {}
    for plan in plans:
        bits = [bit for bit in range(plan.request.bit_length()) if plan.request >> bit & 1]
        found |= dict(zip(bits, plan.graph.outputs, strict=True))
    return [found[bit] for bit in sorted(found)]


@dataclass(frozen=True)
class OnnxExporter:
    """``<task set>.onnx`` for each plan over one ``weights.bin``; see :mod:`pamc_exporters.onnx.weights`.

    With ``shares_memory`` its sessions keep one copy of the weights; see :mod:`pamc_exporters.onnx.sharing`.
    """

    shares_memory: bool = False
    name: ClassVar[str] = "onnx"

    def sharing_memory(self) -> OnnxExporter:
        """The same exporter with sessions that keep one copy of the weights between them, and run slower."""
        return OnnxExporter(shares_memory=True)

    def parse_options(self, values: Mapping[str, object]) -> OnnxOptions:
        """The options from plain values. ConfigError with everything wrong; ``where`` of a problem is the key."""
        from pamc_exporters.onnx.options import OnnxOptions

        options: OnnxOptions = read_options("format 'onnx'", OnnxOptions, values)
        if options.simplify and find_spec("onnxsim") is None:
            raise ConfigError(
                "simplify needs the package onnxsim",
                where="simplify",
                cure='install it with: pip install "pamc[simplify]"',
            )
        return options

    def write(
        self,
        plans: Mapping[str, Plan],
        directory: Path,
        metadata: Mapping[str, str],
        options: Mapping[str, object] = {},
    ) -> tuple[Path, ...]:
        """Write the networks of ``plans`` (by task set) into the existing folder ``directory``.

        Every model passes ``onnx.checker`` and has the plan's shapes before it gets its name. Raises InternalError
        when one does not, ConfigError for wrong ``options`` (see :class:`OnnxOptions`); OSErrors pass through.
        """
        from pamc_exporters.onnx.check import check_shapes
        from pamc_exporters.onnx.model import emit_model
        from pamc_exporters.onnx.ort_format import write_ort
        from pamc_exporters.onnx.simplify import simplified
        from pamc_exporters.onnx.single import SINGLE, single_model
        from pamc_exporters.onnx.weights import collect, lay_out, write_weights

        wanted = self.parse_options(options)
        weights = collect(plans.values())
        stored = lay_out(weights)
        written = [*write_weights(weights, stored, directory)]
        models = {}
        for task_set, plan in plans.items():
            emission = emit_model(plan, stored, metadata)
            check_shapes(emission, plan)
            models[task_set] = emission.model
        paths = _write_models(models, directory)
        if wanted.simplify:
            models = {text: simplified(paths[text], model, stored) for text, model in models.items()}
            paths = _write_models(models, directory)
        written += paths.values()
        target = next(iter(plans.values())).target
        if wanted.single:
            whole = single_model(models, _in_order(plans.values()), target, metadata)
            _write_model(whole, directory / SINGLE, SINGLE)
            written.append(directory / SINGLE)
        if wanted.ort:
            written += write_ort([*paths.values()], target)
        return tuple(written)

    def files(self, task_set: str) -> tuple[str, ...]:
        """The network of a task set, the weights that all share, and the index by which others are composed."""
        from pamc_exporters.onnx.weights import INDEX, WEIGHTS

        return file_name(task_set), WEIGHTS, INDEX

    def open(self, directory: Path, task_set: str, threads: int = 1) -> OnnxSession:
        """A session over a written network. Raises OutputError when its files are missing or damaged."""
        path = _written(directory, task_set)
        if self.shares_memory:
            from pamc_exporters.onnx.sharing import open_shared

            return open_shared(path, directory, threads)
        return open_session(path, directory, threads)

    def variants(
        self, directory: Path, task_sets: Sequence[str], threads: int = 1
    ) -> Iterator[tuple[str, str, OnnxSession]]:
        """What :class:`OnnxOptions` added for these task sets: name of the file, task set, session."""
        from pamc_exporters.onnx.ort_format import FOLDER
        from pamc_exporters.onnx.single import SINGLE

        if (directory / SINGLE).is_file():
            session = start(directory / SINGLE, directory, threads)
            tasks = [output.name for output in session.get_outputs()]
            for task_set in task_sets:
                mask = np.isin(tasks, task_set.split("+"))
                yield SINGLE, task_set, MaskedSession(session, mask)
        for task_set in task_sets:
            path = directory / FOLDER / Path(file_name(task_set)).with_suffix(".ort")
            if path.is_file():
                yield f"{FOLDER}/{path.name}", task_set, open_session(path, directory, threads)

    def slice(self, source: Path, task_sets: Sequence[str], target: Path) -> tuple[Path, ...]:
        """Write just what ``task_sets``, written to ``source``, need into the empty folder ``target``.

        A model.onnx is written again for these task sets, .ort files are copied. Returns every file written. Raises
        OutputError when files of ``source`` are missing or damaged; OSErrors pass through.
        """
        from pamc_exporters.onnx.ort_format import slice_ort
        from pamc_exporters.onnx.reading import properties, read_model
        from pamc_exporters.onnx.single import SINGLE, single_model
        from pamc_exporters.onnx.slicing import slice_weights

        models = {text: read_model(_written(source, text)) for text in task_sets}
        written = [*slice_weights(source, models, target), *_write_models(models, target).values()]
        if (source / SINGLE).is_file():
            known = properties(read_model(source / SINGLE))
            kept = {task for text in task_sets for task in text.split("+")}
            tasks = [task for task in known["pamc.tasks"].split(",") if task in kept]
            whole = single_model(models, tasks, known["pamc.target"], known)
            _write_model(whole, target / SINGLE, SINGLE)
            written.append(target / SINGLE)
        written += slice_ort(source, [Path(file_name(text)).stem for text in task_sets], target)
        return tuple(written)

    def compose(self, plan: Plan, directory: Path, threads: int = 1) -> OnnxSession:
        """A session over a plan that was not written, over the weights that were.

        Groups that no written network has bring their weights along from the plan. Raises OutputError when
        weights.json disagrees with the plan.
        """
        model = _composed(plan, directory).model
        if self.shares_memory:
            from pamc_exporters.onnx.sharing import open_shared

            return open_shared(model, directory, threads)
        return open_session(model.SerializeToString(deterministic=True), directory, threads)

    def trace(self, plan: Plan, directory: Path, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Every value inside the network of a plan, written or composed, for a batch ``x``; by the plan's names."""
        import onnx

        from pamc_exporters.onnx.model import emit_model

        path = directory / file_name(plan.task_set)
        emission = emit_model(plan, {}, {}) if path.is_file() else _composed(plan, directory)
        model = onnx.load(path, load_external_data=False) if path.is_file() else emission.model
        present = {output for node in model.graph.node for output in node.output}
        given = {source.name for source in model.graph.input}
        showing = [node for node in emission.showing if node.input[0] in present | given]
        model.graph.node.extend(showing)
        present |= {output for node in showing for output in node.output}
        exposed = {info.name for info in model.graph.output}
        names = {value: name for value, name in emission.shown.items() if name in present}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values() if name not in exposed)
        outputs = open_session(model.SerializeToString(deterministic=True), directory, 1).run(x)
        return {value: outputs[name] for value, name in names.items()}
