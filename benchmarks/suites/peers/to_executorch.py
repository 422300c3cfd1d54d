"""ExecuTorch with XNNPACK: plans as .pte files, written by PyTorch's own exporter.

It is no exporter of pamc: it needs the package `executorch`, which pamc does not, and serves this suite alone. Each
file has weights of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pamc.errors import ConfigError, OutputError
from pamc.graph import Graph, Node
from pamc.graph.interpret import run

if TYPE_CHECKING:
    from pamc.lower import Plan

__all__ = ["EXPORTER", "ExecutorchExporter", "ExecutorchSession"]


class ExecutorchSession:
    """One task set, loaded; the samples of a batch run one after another."""

    def __init__(self, method: Any, outputs: tuple[str, ...], keep: object) -> None:
        self._method = method
        self._keep = keep
        self.outputs = outputs

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Outputs by task for a batch ``(n, *input shape)``."""
        found = [self._method.execute([torch.from_numpy(x[index : index + 1])]) for index in range(len(x))]
        columns = zip(self.outputs, zip(*found, strict=True), strict=True)
        return {task: torch.cat(parts).numpy() for task, parts in columns}


@dataclass(frozen=True)
class ExecutorchExporter:
    """``<task set>.pte`` for each plan."""

    name: ClassVar[str] = "executorch"

    def parse_options(self, values: Mapping[str, object]) -> None:
        """It has none: ConfigError for any."""
        for key in values:
            raise ConfigError(f"ExecuTorch has no option '{key}'", where=key)

    def write(
        self,
        plans: Mapping[str, Plan],
        directory: Path,
        metadata: Mapping[str, str],
        options: Mapping[str, object] = {},
    ) -> tuple[Path, ...]:
        """Write one file for each plan; it takes some seconds each."""
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        self.parse_options(options)
        paths = []
        for task_set, plan in plans.items():
            graph = plan.graph
            x = torch.from_numpy(np.zeros((1, *graph.shapes[graph.input.name]), graph.input.op.dtype))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exported = torch.export.export(_Module(graph).eval(), (x,))
                program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
            paths.append(directory / self.files(task_set)[0])
            paths[-1].write_bytes(program.buffer)
        return tuple(paths)

    def files(self, task_set: str) -> tuple[str, ...]:
        """The one file of a task set."""
        return (f"{task_set}.pte",)

    def open(self, directory: Path, task_set: str, threads: int = 1) -> ExecutorchSession:
        """A session. OutputError when ExecuTorch cannot load the file."""
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        # All sessions of a process share one pool.
        portable_lib._unsafe_reset_threadpool(threads)
        path = directory / self.files(task_set)[0]
        try:
            program = Runtime.get().load_program(path)
            method = program.load_method("forward")
        except (RuntimeError, OSError) as error:
            raise OutputError(f"ExecuTorch cannot load the network: {error}", where=str(path)) from error
        return ExecutorchSession(method, tuple(task_set.split("+")), program)

    def compose(self, plan: Plan, directory: Path, threads: int = 1) -> ExecutorchSession:
        """It composes nothing: ConfigError."""
        raise ConfigError("ExecuTorch files hold the task sets that were written, no others")


class _Module(nn.Module):
    """A plan's graph, with the outputs in task order."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.slots = {key: f"p{number}" for number, key in enumerate(graph.params)}
        for key, array in graph.params.items():
            self.register_buffer(self.slots[key], torch.tensor(array))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        def lookup(node: Node, role: str) -> Tensor:
            found: Tensor = getattr(self, self.slots[node.params[role]])
            return found

        values = run(self.graph, x, lookup, training=False)
        return tuple(values[value] for value in self.graph.outputs.values())


EXPORTER = ExecutorchExporter()
