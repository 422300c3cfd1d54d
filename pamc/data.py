"""The user's data: called, checked, and held as arrays.

A data function returns ``(x, labels)``, ``x`` alone, or a torch ``Dataset`` of ``(x, labels)`` pairs; ``labels`` is a
mapping from task to an array; it may hold those of other tasks too. Samples are what the device will feed: the graph
normalises them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pamc.errors import UserCodeError
from pamc.graph.ops import Shape
from pamc.registry import did_you_mean
from pamc.spec import FunctionRef, TaskSpec
from pamc.train import Samples
from pamc.usercode import call, load_function

__all__ = ["load_samples", "shuffled"]

DTYPES = {"uint8": np.uint8, "float32": np.float32}


def load_samples(
    ref: FunctionRef, tasks: Sequence[TaskSpec], dtype: str | None, shape: Shape | None, widths: Mapping[str, int]
) -> Samples:
    """Call a data function and check what it returns.

    ``dtype`` and ``shape`` are those of the input, None where the data decide. ``widths`` are the tasks' numbers of
    outputs, by which labels are judged; a task that is not there is not checked.
    Raises UserCodeError naming the function and everything wrong with its data.
    """
    where = str(ref)
    answer = call(load_function(f"{ref.file.name}:{ref.function}", ref.file.parent), what=f"data function {where}")
    x, labels = _split(answer, where)
    problems = [*_input_problems(x, dtype, shape)]
    known = {task.name: task for task in tasks}
    for name, array in labels.items():
        if name in known:
            problems += _label_problems(known[name], array, len(x), widths.get(name))
        elif not known.keys() <= labels.keys():
            # They may be meant for a task that has none; without such a task they are another model.yaml's.
            hint = did_you_mean(name, tuple(known)) or f" (the tasks are: {', '.join(known)})"
            problems.append(f"labels for '{name}', which is no task{hint}")
    if problems:
        raise UserCodeError(
            f"the data cannot be used: {'; '.join(problems)}",
            where=where,
            cure="return (x, labels): x (n, *input shape), labels {task: array of n labels}",
        )
    used = {name: np.ascontiguousarray(array) for name, array in labels.items() if name in known}
    return Samples(np.ascontiguousarray(x), used)


def shuffled(samples: Samples, seed: int, count: int) -> Samples:
    """``count`` random samples: data files are often sorted by class."""
    order = np.random.default_rng(seed).permutation(len(samples))[:count]
    return Samples(
        samples.x[order],
        {task: array[order] for task, array in samples.labels.items()},
        {task: array[order] for task, array in samples.teacher.items()},
    )


def _split(answer: Any, where: str) -> tuple[NDArray[np.generic], dict[str, NDArray[np.generic]]]:
    if isinstance(answer, tuple) and len(answer) == 2:
        x, labels = answer
        return _array(x, "x", where), {
            str(task): _array(array, f"labels of '{task}'", where) for task, array in _mapping(labels, where).items()
        }
    if hasattr(answer, "shape") or isinstance(answer, list):
        return _array(answer, "x", where), {}
    if hasattr(answer, "__getitem__") and hasattr(answer, "__len__") and not isinstance(answer, tuple | Mapping | str):
        return _from_dataset(answer, where)
    raise _unusable(f"it returned a {type(answer).__name__}", where)


def _from_dataset(dataset: Any, where: str) -> tuple[NDArray[np.generic], dict[str, NDArray[np.generic]]]:
    items = [call(dataset.__getitem__, index, what=f"sample {index} of {where}") for index in range(len(dataset))]
    if not items:
        raise UserCodeError("the data set is empty", where=where, cure="return at least one sample")
    if not isinstance(items[0], tuple | list):
        return _array(items, "x", where), {}
    pairs = [item for item in items if isinstance(item, tuple | list) and len(item) == 2]
    if len(pairs) < len(items):
        raise _unusable("its samples are not pairs (x, labels)", where)
    labels = [_mapping(pair[1], where) for pair in pairs]
    tasks = labels[0].keys()
    for index, held in enumerate(labels):
        if held.keys() != tasks:
            raise _unusable(f"sample {index} has labels for {sorted(held)}, sample 0 for {sorted(tasks)}", where)
    return _array([pair[0] for pair in pairs], "x", where), {
        str(task): _array([held[task] for held in labels], f"labels of '{task}'", where) for task in tasks
    }


def _mapping(labels: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(labels, Mapping):
        raise UserCodeError(
            f"labels are a {type(labels).__name__}, not a mapping from task to array",
            where=where,
            cure="return (x, {task: labels, ...}), or a Dataset of such pairs",
        )
    return labels


def _unusable(what: str, where: str) -> UserCodeError:
    cure = "return (x, {task: labels}), x alone, or a torch Dataset of such pairs; a DataLoader has one as .dataset"
    return UserCodeError(f"the data cannot be used: {what}", where=where, cure=cure)


def _array(value: Any, name: str, where: str) -> NDArray[np.generic]:
    if isinstance(value, list):
        value = [_numpy(item) for item in value]
    try:
        return np.asarray(_numpy(value))
    except ValueError:
        raise _unusable(f"the parts of {name} differ in shape", where) from None


def _numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _input_problems(x: NDArray[np.generic], dtype: str | None, shape: Shape | None) -> list[str]:
    problems = []
    if x.dtype == object or x.ndim < 2 or not len(x):
        return [f"x has shape {x.shape} and type {x.dtype}, should be (n, *input shape) with n > 0"]
    if shape is None and x.ndim not in (2, 4):
        hint = ": x[:, None] adds the channel" if x.ndim == 3 else ""
        problems.append(f"x has shape {x.shape}, should be (n, channels, height, width) or (n, features){hint}")
    if dtype is None and x.dtype.name not in DTYPES:
        problems.append(f"x is {x.dtype}, should be float32 or uint8 (return x.astype(numpy.float32))")
    if shape is not None and x.shape[1:] != tuple(shape):
        problems.append(f"x holds samples of shape {x.shape[1:]}, the input is {tuple(shape)}")
    if dtype is not None and x.dtype != DTYPES[dtype]:
        hint = f"return x.astype(numpy.{dtype})"
        if x.dtype.name in DTYPES:
            hint += f", or write `dtype: {x.dtype}` under `input:` in model.yaml"
        problems.append(f"x is {x.dtype}, the input is {dtype} ({hint})")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        problems.append("x holds NaN or infinity")
    return problems


def _label_problems(task: TaskSpec, array: NDArray[np.generic], count: int, width: int | None) -> list[str]:
    name = task.name
    if array.dtype == object or array.ndim == 0 or len(array) != count:
        return [f"labels of '{name}' have shape {array.shape}, should start with {count}"]
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        return [f"labels of '{name}' are {array.dtype}, should be numbers"]
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        return [f"labels of '{name}' hold NaN or infinity"]
    if task.loss == "cross_entropy":
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            return [f"labels of '{name}' are {array.dtype} {array.shape}, should be ({count},) class numbers"]
        low, high = int(array.min()), int(array.max())
        if low < 0 or (width is not None and high >= width):
            return [f"labels of '{name}' run from {low} to {high}, its network has {width} classes"]
    elif width is not None and int(np.prod(array.shape[1:])) != width:
        return [f"labels of '{name}' have shape {array.shape}, its network has {width} outputs"]
    return []
