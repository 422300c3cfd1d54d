"""Building a graph from an exported program, one ATen call at a time.

Reshapes are lazy: a :class:`Ref` is a node's value seen under another per-sample shape. Only when an operation needs
the value does it become a Flatten or an Unflatten, so every spelling of a global pooling or a flattening ends alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pamc.errors import Finding
from pamc.graph import Graph, Node, Origin
from pamc.graph.ir import frozen_array
from pamc.graph.ops import Flatten, Op, Shape, ShapeError, Unflatten

__all__ = [
    "SYMBOL",
    "Builder",
    "Call",
    "Const",
    "Converter",
    "Normalization",
    "Poison",
    "Ref",
    "Site",
    "Symbol",
    "Unsupported",
    "Value",
    "registering",
]

UNSAFE = re.compile(r"[^A-Za-z0-9_.\-]")


class Normalization(Protocol):
    """Per channel ``(x - mean) / std``."""

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...


class Unsupported(Exception):
    """A call that has no equivalent in the IR."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__(why)
        self.why = why
        self.cure = cure


@dataclass(frozen=True, slots=True)
class Site:
    """Where a call comes from. ``leaf``: it is the work of one layer of torch.nn, whose path names it."""

    origin: Origin = field(default=Origin())
    leaf: bool = False


@dataclass(frozen=True, slots=True)
class Const:
    """A tensor that does not depend on the input: weights, buffers, and what is computed from them."""

    value: Tensor
    trainable: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """A node's value seen as ``shape`` (per sample). ``pad`` zeros (rows, columns) wait for a convolution; a value
    that is ``expanded`` may only take part in broadcasting."""

    node: str
    shape: Shape
    site: Site = field(default=Site(), compare=False)
    pad: tuple[int, int] = (0, 0)
    expanded: Shape | None = None

    @property
    def seen(self) -> Shape:
        """The shape that the user's code sees."""
        return self.expanded or self.shape


@dataclass(frozen=True, slots=True)
class Poison:
    """The result of a call that could not be translated; ``finding`` says why."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Symbol:
    """A number that depends on the batch size."""


SYMBOL = Symbol()
Value: TypeAlias = object


class Builder:
    """A graph under construction; parameters are kept in float64."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.shapes: dict[str, Shape] = {}
        self.params: dict[str, NDArray[np.float64]] = {}
        self._views: dict[tuple[str, Shape], str] = {}

    def emit(
        self,
        site: Site,
        op: Op,
        inputs: tuple[str, ...],
        suffix: str,
        params: Mapping[str, NDArray[np.float64]] | None = None,
        *,
        exact: bool = False,
    ) -> Ref:
        """Add a node, named after its module path and ``suffix`` (``exact``: the path alone names a layer)."""
        held = dict(params or {})
        units = next((held[role].shape[0] for role in op.param_axes if role in held), None)
        try:
            shape = op.out_shape([self.shapes[name] for name in inputs], units)
        except ShapeError as error:
            raise Unsupported(str(error), "give the inputs equal shapes, or (C, 1, 1) for one factor") from None
        if min(shape) < 1:
            raise Unsupported(f"the result would have the shape {shape}", "use a larger input or a smaller window")
        path = UNSAFE.sub("_", site.origin.module)
        # A layer's own name says enough; a number does so for layers with weights only.
        named = site.leaf and path and (exact or not path.rpartition(".")[2].isdigit())
        wanted = path if named else ".".join(part for part in (path, suffix) if part)
        name, count = wanted, 1
        while name in self.nodes:
            count += 1
            name = f"{wanted}_{count}"
        for role, array in held.items():
            self.params[f"{name}.{role}"] = np.asarray(array, dtype=np.float64)
        self.nodes[name] = Node(name, op, inputs, {role: f"{name}.{role}" for role in held}, site.origin)
        self.shapes[name] = shape
        return Ref(name, shape, site)

    def placeholder(self, shape: Shape, site: Site) -> Ref:
        """A value of known shape that stands for an untranslated call, so that later calls are still checked."""
        name = f"unsupported_{len(self.shapes)}"
        self.shapes[name] = shape
        return Ref(name, shape, site)

    def value(self, ref: Ref) -> str:
        """The node whose value has the shape that ``ref`` sees."""
        if ref.pad != (0, 0):
            raise Unsupported(
                "zero padding before anything but a convolution is not supported", "use the layer's own padding"
            )
        if ref.expanded is not None:
            raise Unsupported("an expanded value may only be added or multiplied", "leave the broadcasting to + and *")
        real = self.shapes[ref.node]
        if real == ref.shape:
            return ref.node
        known = self._views.get((ref.node, ref.shape))
        if known is not None:
            return known
        source = ref.node
        if len(real) == 3 and ref.shape == (math.prod(real),):
            made = self.emit(ref.site, Flatten(), (source,), "flatten")
        elif ref.shape == (math.prod(real), 1, 1):
            if len(real) == 3:
                source = self.value(replace(ref, shape=(math.prod(real),)))
            made = self.emit(ref.site, Unflatten(), (source,), "unflatten")
        else:
            raise Unsupported(
                f"a value of shape {real} is used as {ref.shape}",
                "between layers use (C, H, W), flatten(1), or a view to (n, C, 1, 1)",
            )
        self._views[ref.node, ref.shape] = made.node
        return made.node

    def graph(self, outputs: Mapping[str, str], dtype: type[np.floating] = np.float64) -> Graph:
        """What was built, with parameters of the given type."""
        return Graph(
            tuple(self.nodes.values()),
            dict(outputs),
            {name: frozen_array(array.astype(dtype)) for name, array in self.params.items()},
        )


@dataclass(frozen=True)
class Call:
    """One ATen call: arguments by their name in the schema, and the per-sample shape of its (first) result."""

    builder: Builder
    site: Site
    args: Mapping[str, Value]
    out: Shape | None

    def ref(self, name: str = "self") -> Ref:
        """An argument that must depend on the input."""
        value = self.args[name]
        if not isinstance(value, Ref):
            raise Unsupported(f"its argument {name!r} is a constant", "apply the layer to the network's data")
        return value

    def value(self, name: str = "self") -> str:
        """The node behind an argument that depends on the input, with one or three axes per sample."""
        return self.builder.value(self.ref(name))

    def shape(self, name: str = "self") -> Shape:
        """The shape of an argument as the user's code sees it."""
        return self.ref(name).seen

    def feature_map(self, name: str = "self") -> str:
        """Like :meth:`value`, and (C, H, W)."""
        node = self.value(name)
        if len(self.builder.shapes[node]) != 3:
            raise Unsupported(
                f"its input has the shape {self.builder.shapes[node]} per sample", "feed it (C, H, W) feature maps"
            )
        return node

    def constant(self, name: str) -> NDArray[np.float64] | None:
        """An argument that must not depend on the input; None when it is absent."""
        value = self.args.get(name)
        if value is None:
            return None
        if not isinstance(value, Const):
            raise Unsupported(f"its {name} is computed from the input", "use a parameter or a buffer")
        array: NDArray[np.float64] = value.value.detach().cpu().double().numpy()
        return array

    def integer(self, name: str, default: int = 0) -> int:
        """An integer argument."""
        value = self.args.get(name, default)
        if not isinstance(value, int):
            raise Unsupported(f"its {name} is not a fixed number", "write the number itself")
        return value

    def number(self, name: str, default: float) -> float:
        """A number argument; the default stands for an absent one."""
        value = self.args.get(name)
        value = default if value is None else value
        if not isinstance(value, int | float):
            raise Unsupported(f"its {name} is not a fixed number", "write the number itself")
        return float(value)

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of integers; () when absent."""
        value = self.args.get(name)
        items = value if isinstance(value, list | tuple) else [] if value is None else [value]
        if not all(isinstance(item, int) for item in items):
            raise Unsupported(f"its {name} depends on the batch size or the data", "write the numbers themselves")
        return tuple(items)

    def pair(self, name: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
        """A list of one or two integers as (rows, columns)."""
        items = self.numbers(name)
        if not items and default is not None:
            return default
        if len(items) not in (1, 2):
            raise Unsupported(f"its {name} is {list(items)}", "only two-dimensional windows are supported")
        return items[0], items[-1]

    def emit(
        self,
        op: Op,
        inputs: tuple[str, ...],
        suffix: str,
        params: Mapping[str, NDArray[np.float64] | None] | None = None,
        *,
        exact: bool = False,
    ) -> Ref:
        """Add a node; parameters that are None are left out."""
        held = {role: array for role, array in (params or {}).items() if array is not None}
        return self.builder.emit(self.site, op, inputs, suffix, held, exact=exact)


Converter: TypeAlias = Callable[[Call], Value]


def registering(table: dict[str, Converter]) -> Callable[..., Callable[[Converter], Converter]]:
    """A decorator that enters a function into ``table`` under the names of ATen operations."""

    def names(*operations: str) -> Callable[[Converter], Converter]:
        def add(function: Converter) -> Converter:
            table.update({f"aten.{operation}": function for operation in operations})
            return function

        return add

    return names
