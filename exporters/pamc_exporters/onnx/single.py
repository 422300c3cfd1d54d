"""model.onnx: all task sets in one file, chosen at run time by a mask of tasks.

ONNX Runtime runs a whole graph even when one output is asked for; only an If skips nodes. Each task set is a branch
with tensors of its own, since ONNX Runtime does not treat tensors of the outer graph as constants inside a branch,
which costs 1.3 to 1.5 times the time. These tensors all refer to the same weights.bin, so no byte is there twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pamc.graph import all_task_sets
from pamc_exporters.onnx.model import wrap

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

__all__ = ["SINGLE", "chosen_sets", "single_model"]

SINGLE = "model.onnx"
# No task has a name with a colon.
_ANSWER = ":answer"
_CHOICE = "choice:"
_INPUTS = (("input", "network_input"), ("tasks", "requested_tasks"))


def chosen_sets(tasks: Sequence[str], task_sets: Sequence[str]) -> NDArray[np.integer]:
    """For every mask the position of the task set that answers it; ``len(task_sets)`` where none can.

    Bit ``t`` of a mask stands for ``tasks[t]``. That is the set itself, or the one with the fewest further tasks; of
    these the first. The empty mask asks for nothing.
    """
    sets = [sum(1 << tasks.index(task) for task in text.split("+")) for text in task_sets]
    none = len(sets)
    table = np.full(1 << len(tasks), none, dtype=np.min_scalar_type(none))
    for mask in all_task_sets(len(tasks)):
        able = [position for position, known in enumerate(sets) if mask & ~known == 0]
        table[mask] = min(able, key=lambda position: (sets[position].bit_count(), position), default=none)
    return table


def _tensor(name: str, array: NDArray[np.generic]) -> TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def _renamed(names: Sequence[str], new: Mapping[str, str]) -> list[str]:
    return [new.get(name, name) for name in names]


class _Tree:
    """The nested Ifs: each halves the branches that are left."""

    def __init__(
        self, source: str, branches: Sequence[GraphProto | None], answers: Mapping[str, ValueInfoProto]
    ) -> None:
        self.source = source
        self.branches = branches
        self.answers = answers

    def _outputs(self, suffix: str) -> list[ValueInfoProto]:
        from onnx import ValueInfoProto

        found = []
        for task, info in self.answers.items():
            copy = ValueInfoProto()
            copy.CopyFrom(info)
            copy.name = task + suffix
            found.append(copy)
        return found

    def _branch(self, position: int) -> GraphProto:
        """A task set's graph with an output for every task; tasks that it does not have yield no rows."""
        from onnx import GraphProto, helper

        given = self.branches[position]
        graph = GraphProto(name=given.name if given is not None else "none")
        answered = {output.name for output in given.output} if given is not None else set()
        names = {task: task + _ANSWER for task in answered}
        if given is not None:
            graph.initializer.extend(given.initializer)
            # Alone, a network calls its input otherwise when a task of its own has that name.
            names[given.input[0].name] = self.source
            for node in given.node:
                copy = graph.node.add()
                copy.CopyFrom(node)
                copy.input[:] = _renamed(node.input, names)
                copy.output[:] = _renamed(node.output, names)
        for task, info in self.answers.items():
            if task not in answered:
                shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim[1:]]
                empty = _tensor("", np.zeros((0, *shape), dtype=np.float32))
                graph.node.append(helper.make_node("Constant", [], [task + _ANSWER], value=empty))
        graph.output.extend(self._outputs(_ANSWER))
        return graph

    def nodes(self, first: int, last: int, suffix: str) -> tuple[list[NodeProto], list[TensorProto]]:
        """The nodes that choose among the branches ``first`` to ``last``, and the number that they compare with."""
        from onnx import helper

        middle = (first + last + 1) // 2
        number, below = f"choice:{middle}", f"choice:below{middle}"
        return [
            helper.make_node("Less", [_CHOICE, number], [below]),
            helper.make_node(
                "If",
                [below],
                [task + suffix for task in self.answers],
                then_branch=self._graph(first, middle - 1),
                else_branch=self._graph(middle, last),
            ),
        ], [_tensor(number, np.array(middle, dtype=np.int64))]

    def _graph(self, first: int, last: int) -> GraphProto:
        from onnx import helper

        if first == last:
            return self._branch(first)
        suffix = f":of{first}to{last}"
        nodes, tensors = self.nodes(first, last, suffix)
        return helper.make_graph(nodes, f"{first} to {last}", [], self._outputs(suffix), tensors)


def _choice(mask: str, table: NDArray[np.integer]) -> tuple[list[NodeProto], list[TensorProto]]:
    """The position of the branch that answers a mask."""
    from onnx import TensorProto, helper

    bits = np.array([1 << bit for bit in range(int(table.size).bit_length() - 1)], dtype=np.int64)
    nodes = [
        helper.make_node("Cast", [mask], ["choice:bits"], to=TensorProto.INT64),
        helper.make_node("Mul", ["choice:bits", "choice:weights"], ["choice:terms"]),
        helper.make_node("ReduceSum", ["choice:terms"], ["choice:mask"], keepdims=0),
        helper.make_node("Gather", ["choice:table", "choice:mask"], ["choice:known"], axis=0),
        helper.make_node("Cast", ["choice:known"], [_CHOICE], to=TensorProto.INT64),
    ]
    return nodes, [_tensor("choice:weights", bits), _tensor("choice:table", table)]


def single_model(
    models: Mapping[str, ModelProto], tasks: Sequence[str], target: str, metadata: Mapping[str, str]
) -> ModelProto:
    """The models of several task sets as one.

    Inputs: ``input``, that of the models, and ``tasks``, bool ``(len(tasks),)``, in the order of ``tasks``; they are
    called ``network_input`` and ``requested_tasks`` where a task has that name. Outputs: one per task,
    ``(n, *shape)``, or without rows for a task that the chosen branch does not have; see :func:`chosen_sets` for
    which branch answers.
    """
    from onnx import TensorProto, ValueInfoProto, helper

    found = {output.name: output for model in models.values() for output in model.graph.output}
    answers = {}
    for task in tasks:
        shape = [dim.dim_value for dim in found[task].type.tensor_type.shape.dim[1:]]
        # Rows of its own: another task may have none.
        answers[task] = helper.make_tensor_value_info(task, TensorProto.FLOAT, [f"n_{task}", *shape])
    source, mask = (name if name not in tasks else other for name, other in _INPUTS)
    tree = _Tree(source, [*(model.graph for model in models.values()), None], answers)
    choosing, numbers = _choice(mask, chosen_sets(tasks, list(models)))
    nodes, middle = tree.nodes(0, len(models), "")
    given = ValueInfoProto()
    given.CopyFrom(next(iter(models.values())).graph.input[0])
    given.name = source
    inputs = [given, helper.make_tensor_value_info(mask, TensorProto.BOOL, [len(tasks)])]
    graph = helper.make_graph([*choosing, *nodes], "model", inputs, [*answers.values()], [*numbers, *middle])
    own = {"pamc.tasks": ",".join(tasks), "pamc.task_sets": ",".join(models)}
    return wrap(graph, target, {**metadata, **own})
