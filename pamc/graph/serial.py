"""Graphs as JSON plus safetensors: readable, diffable, and safe to open."""

from __future__ import annotations

import copyreg
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from pamc.errors import OutputError
from pamc.graph.ir import Graph, MultitaskGraph, Node, Origin
from pamc.graph.ops import OPS, Op

__all__ = ["FORMAT_VERSION", "dump", "load"]

FORMAT_VERSION = 1
OWNERS_PREFIX = "owners:"


def _op_to_json(op: Op) -> dict[str, Any]:
    return {"kind": op.kind, **asdict(op)}


def _op_from_json(data: Mapping[str, Any]) -> Op:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "kind"}
    return OPS[data["kind"]](**fields)


def dump(net: MultitaskGraph) -> tuple[str, bytes]:
    """JSON text with the structure, and safetensors bytes with parameters and owners. Byte-deterministic."""
    structure = {
        "format_version": FORMAT_VERSION,
        "tasks": list(net.tasks),
        "outputs": dict(net.graph.outputs),
        "spaces": list(net.owners),
        "nodes": [
            {
                "name": node.name,
                "op": _op_to_json(node.op),
                "inputs": list(node.inputs),
                "params": dict(node.params),
                "module": node.origin.module,
                "location": node.origin.location,
            }
            for node in net.graph.nodes
        ],
    }
    arrays: dict[str, np.ndarray] = {name: np.asarray(array) for name, array in sorted(net.graph.params.items())}
    arrays.update({OWNERS_PREFIX + space: np.asarray(vector) for space, vector in sorted(net.owners.items())})
    return json.dumps(structure, indent=1) + "\n", save_safetensors(arrays)


def load(structure: str, arrays: bytes) -> MultitaskGraph:
    """The inverse of :func:`dump`. Raises OutputError when the content is damaged."""
    try:
        data = json.loads(structure)
        if data["format_version"] != FORMAT_VERSION:
            raise OutputError(
                f"the multitask graph has format version {data['format_version']}, this pamc reads {FORMAT_VERSION}",
                cure="rebuild the bundle with this version of pamc",
            )
        held = load_safetensors(arrays)
        nodes = tuple(
            Node(
                item["name"],
                _op_from_json(item["op"]),
                tuple(item["inputs"]),
                dict(item["params"]),
                Origin(item["module"], item["location"]),
            )
            for item in data["nodes"]
        )
        params = {}
        for key in dict.fromkeys(key for node in nodes for key in node.params.values()):
            params[key] = held[key]
            params[key].setflags(write=False)
        owners = {space: held[OWNERS_PREFIX + space] for space in data["spaces"]}
        return MultitaskGraph(tuple(data["tasks"]), Graph(nodes, data["outputs"], params), owners)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise OutputError(
            f"the multitask graph cannot be read: {error!r}", why="the file is damaged", cure="rebuild the bundle"
        ) from error


def _sent(net: MultitaskGraph) -> tuple[Callable[[str, bytes], MultitaskGraph], tuple[str, bytes]]:
    return load, dump(net)


# Between processes a network goes as it lies in a file.
copyreg.pickle(MultitaskGraph, _sent)
