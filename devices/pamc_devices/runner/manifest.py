"""What a runner reads of a bundle's manifest, for a network that no build wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

__all__ = ["bare_manifest"]


def bare_manifest(shape: Sequence[int], dtype: str, outputs: Mapping[str, Sequence[int]], files: Sequence[str]) -> str:
    """The text of the smallest manifest that the runners in C and in Python take.

    It is of one network with numbers in float32, whose only task set is all of its ``outputs``, the shapes by task.
    ``shape`` is that of the input, ``dtype`` float32 or uint8; all shapes are of one sample, without the batch.
    ``files`` are the network's by their paths inside the bundle. The same arguments give the same text, on which exact
    counts of instructions depend: what a runner reads moves its heap.
    """
    data = {
        "schema_version": 1,
        "numerics": {"method": "float32"},
        "input": {"shape": list(shape), "dtype": dtype},
        "tasks": [{"name": task, "shape": list(output)} for task, output in outputs.items()],
        "task_sets": {"+".join(outputs): {"emitted": True, "files": list(files)}},
    }
    return json.dumps(data)
