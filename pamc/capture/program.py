"""Translating an exported program call by call, collecting everything that has no equivalent."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from pamc.capture import arithmetic, aten
from pamc.capture.sites import site_of
from pamc.capture.translation import (
    SYMBOL,
    Builder,
    Call,
    Const,
    Normalization,
    Poison,
    Ref,
    Site,
    Symbol,
    Unsupported,
    Value,
)
from pamc.capture.unsupported import advice
from pamc.errors import Finding
from pamc.graph import Origin
from pamc.graph.ops import ChannelAffine, Input, Shape, ShapeError, Softmax

__all__ = ["Translated", "translate"]

CONVERTERS = {**aten.CONVERTERS, **arithmetic.CONVERTERS}


@dataclass(frozen=True)
class Translated:
    """A translated program: the graph so far, the value that is its output, and what could not be translated."""

    builder: Builder
    output: str | None
    findings: tuple[Finding, ...]


def translate(
    name: str, program: ExportedProgram, source: Input, normalize: Normalization | None, root: Path | None
) -> Translated:
    """Translate an exported program (functional, with a dynamic batch axis) of the network ``name``."""
    return _Translation(name, program, source, normalize, root).run()


def _size(size: object) -> object:
    """A number, or the symbolic expression of a size that is none; comparing those asks the exporter nothing."""
    if not isinstance(size, torch.SymInt):
        return size
    expression = size.node.expr
    return int(expression) if expression.is_number else expression


class _Translation:
    def __init__(
        self, name: str, program: ExportedProgram, source: Input, normalize: Normalization | None, root: Path | None
    ) -> None:
        self.name = name
        self.program = program
        self.root = root
        self.builder = Builder()
        self.findings: list[Finding] = []
        self.env: dict[fx.Node, Value] = {}
        self.batch: object = None
        self.source = self._input(source, normalize)

    def _input(self, op: Input, normalize: Normalization | None) -> Ref:
        made = self.builder.emit(Site(), op, (), "input")
        if normalize is None:
            return made
        mean, std = (np.asarray(list(values), dtype=np.float64) for values in (normalize.mean, normalize.std))
        vectors = {"scale": 1.0 / std, "shift": -mean / std}
        return self.builder.emit(Site(), ChannelAffine(frozen=True), (made.node,), "normalize", vectors)

    def run(self) -> Translated:
        self._placeholders()
        outputs = [
            spec.arg.name
            for spec in self.program.graph_signature.output_specs
            if spec.kind == OutputKind.USER_OUTPUT and hasattr(spec.arg, "name")
        ]
        self._mutations()
        last = next(node for node in self.program.graph.nodes if node.op == "output")
        needed = self._needed(last)
        for node in self.program.graph.nodes:
            if node in needed and node.op == "call_function":
                self.env[node] = self._step(node)
        ends = [self.env[node] for node in needed if node.name in outputs]
        output = self._end(ends[0], next(node for node in needed if node.name in outputs)) if len(ends) == 1 else None
        if output is not None and not self.findings:
            self._check_spaces(output)
        return Translated(self.builder, output, tuple(dict.fromkeys(self.findings)))

    def _find(self, op: str, site: Site, why: str, cure: str) -> Finding:
        return Finding(self.name, op, site.origin.module, site.origin.location, why, cure)

    def _placeholders(self) -> None:
        held = {**self.program.state_dict, **self.program.constants}
        by_name = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        for spec in self.program.graph_signature.input_specs:
            node = by_name.get(getattr(spec.arg, "name", ""))
            if node is None:
                continue
            if spec.kind == InputKind.USER_INPUT:
                self.env[node] = self.source
                self.batch = _size(node.meta["val"].shape[0])
                continue
            tensor = held[spec.target] if spec.target is not None else None
            if isinstance(tensor, Tensor):
                # In float64, so that folding constants adds no rounding of its own.
                value = tensor.detach().double() if tensor.is_floating_point() else tensor.detach()
                self.env[node] = Const(value, spec.kind == InputKind.PARAMETER)
        if isinstance(self.batch, int):
            self.findings.append(self._fixed_batch())

    def _fixed_batch(self) -> Finding:
        site = Site()
        for node in self.program.graph.nodes:
            sizes = node.args[1] if len(node.args) > 1 else None
            if isinstance(sizes, list | tuple) and sizes and sizes[0] == self.batch and "view" in str(node.target):
                site = site_of(node, self.root)
                break
        return self._find(
            "batch size", site, "forward() works for one batch size only", "use x.flatten(1) or x.view(x.size(0), -1)"
        )

    def _mutations(self) -> None:
        for spec in self.program.graph_signature.output_specs:
            if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION):
                path, _, leaf = str(spec.target or "").rpartition(".")
                site = Site(Origin(path))
                what = "the input" if spec.kind == OutputKind.USER_INPUT_MUTATION else f"the buffer '{leaf}'"
                self.findings.append(
                    self._find("assignment", site, f"forward() changes {what}", "do so in training mode only")
                )

    def _needed(self, last: fx.Node) -> dict[fx.Node, None]:
        needed: dict[fx.Node, None] = {}
        stack = list(last.all_input_nodes)
        while stack:
            node = stack.pop()
            if node not in needed:
                needed[node] = None
                stack.extend(node.all_input_nodes)
        return needed

    def _sample_shape(self, value: object) -> Shape | None:
        """The shape without the batch axis; None when axis 0 is not the batch."""
        if isinstance(value, list | tuple):
            value = value[0] if value else None
        if not isinstance(value, Tensor) or value.dim() == 0:
            return None
        first, *rest = (_size(size) for size in value.shape)
        sizes = tuple(size for size in rest if isinstance(size, int))
        return sizes if first == self.batch and len(sizes) == len(rest) else None

    def _value(self, arg: object) -> Value:
        if isinstance(arg, fx.Node):
            return self.env[arg]
        if isinstance(arg, list | tuple):
            return [self._value(item) for item in arg]
        return arg

    def _step(self, node: fx.Node) -> Value:
        target = node.target
        if target is operator.getitem:
            source, index = (self._value(arg) for arg in node.args)
            if isinstance(source, tuple) and isinstance(index, int) and index < len(source):
                return source[index]
            return source if isinstance(source, Poison) else self._refuse(node, "getitem", *advice("split"))
        if isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat | int | bool | float):
            return SYMBOL
        name = str(getattr(target, "_overloadpacket", target))
        short = name.removeprefix("aten.")
        if not isinstance(target, torch._ops.OpOverload):
            return self._refuse(node, short, *advice(short))
        args = {item.name: item.default_value for item in target._schema.arguments if item.has_default_value()}
        names = [item.name for item in target._schema.arguments]
        args.update({key: self._value(arg) for key, arg in zip(names, node.args, strict=False)})
        args.update({key: self._value(arg) for key, arg in node.kwargs.items()})
        flat = [item for arg in args.values() for item in (arg if isinstance(arg, list) else [arg])]
        poison = next((item for item in flat if isinstance(item, Poison)), None)
        convert = CONVERTERS.get(name)
        if convert is None and any(isinstance(item, Ref | Poison) for item in flat):
            return self._refuse(node, short, *advice(short))
        if poison is not None:
            return poison
        if not any(isinstance(item, Ref) for item in flat):
            return self._constant(node, target, short, args, flat)
        assert convert is not None
        try:
            return convert(Call(self.builder, site_of(node, self.root), args, self._sample_shape(node.meta.get("val"))))
        except Unsupported as error:
            return self._refuse(node, short, error.why, error.cure)

    def _refuse(self, node: fx.Node, op: str, why: str, cure: str) -> Value:
        site = site_of(node, self.root)
        finding = self._find(op, site, why, cure)
        self.findings.append(finding)
        shape = self._sample_shape(node.meta.get("val"))
        if shape is None or len(shape) not in (1, 3):
            return Poison(finding)
        # Later calls can be checked as if this one had worked.
        stand_in = self.builder.placeholder(shape, site)
        return (stand_in,) if isinstance(node.meta["val"], list | tuple) else stand_in

    def _constant(
        self, node: fx.Node, target: torch._ops.OpOverload, op: str, args: Mapping[str, Value], flat: Sequence[Value]
    ) -> Value:
        if torch.Tag.nondeterministic_seeded in target.tags:
            return self._refuse(node, op, *advice("rand"))
        if any(isinstance(item, Symbol) for item in flat):
            why = "it makes a constant that grows with the batch"
            return Poison(self._find(op, site_of(node, self.root), why, "use a buffer that broadcasts over the batch"))
        plain = {
            key: [item.value if isinstance(item, Const) else item for item in arg]
            if isinstance(arg, list)
            else (arg.value if isinstance(arg, Const) else arg)
            for key, arg in args.items()
        }
        order = [item for item in target._schema.arguments if item.name in plain]
        result = target(
            *(plain[item.name] for item in order if not item.kwarg_only),
            **{item.name: plain[item.name] for item in order if item.kwarg_only},
        )
        trainable = any(isinstance(item, Const) and item.trainable for item in flat)
        if isinstance(result, list | tuple):
            return tuple(Const(item, trainable) for item in result)
        return Const(result, trainable)

    def _end(self, value: Value, node: fx.Node) -> str | None:
        if isinstance(value, Poison):
            self.findings.append(value.finding)
            return None
        if not isinstance(value, Ref):
            self.findings.append(
                self._find("output", Site(), "the output does not depend on the input", "return what was computed")
            )
            return None
        try:
            return self.builder.value(value)
        except Unsupported as error:
            self.findings.append(self._find("output", site_of(node, self.root), error.why, error.cure))
            return None

    def _check_spaces(self, output: str) -> None:
        graph = self.builder.graph({self.name: output})
        try:
            spaces = graph.spaces
        except ShapeError as error:
            cure = "concatenate in the same way on both sides, or put a 1x1 convolution after the concatenation"
            self.findings.append(self._find("add", Site(), str(error), cure))
            return
        image = graph.input.name
        if tied := [name for name in spaces.producers[image] if name != image]:
            site = Site(graph.by_name[tied[0]].origin)
            why = "its channels are tied to the input's by an addition or a product"
            self.findings.append(self._find(graph.by_name[tied[0]].op.kind, site, why, "put a convolution in between"))
        elif any(seg.space == image for seg in spaces.layouts[output]):
            self.findings.append(
                self._find(
                    "output", Site(), "the output's channels are the input's", "end with a convolution or linear"
                )
            )
        for node in graph.nodes:
            if isinstance(node.op, Softmax) and len(spaces.layouts[node.name]) > 1:
                self.findings.append(
                    self._find("softmax", Site(node.origin), "it spans a concatenation", "put a linear layer before it")
                )
