"""model.yaml, the description of a build: read, checked as a whole, and turned into a `Spec`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pamc.config_checks import Checker, merge_methods, prune_methods
from pamc.config_schema import (
    MAX_TASKS,
    TASK_NAME,
    BudgetModel,
    DataModel,
    FileModel,
    InputModel,
    MergeModel,
    PruneModel,
    QuantizeModel,
    SettingsModel,
    TaskModel,
    TrainModel,
)
from pamc.config_yaml import read_yaml
from pamc.errors import ConfigError
from pamc.export import exporters, find_exporter
from pamc.registry import did_you_mean, method_names, options_schema
from pamc.spec import (
    Budget,
    DataSpec,
    Effort,
    FunctionRef,
    InputSpec,
    MethodSpec,
    Normalize,
    PruneSpec,
    QuantizeKind,
    QuantizeSpec,
    Spec,
    TaskSpec,
    TrainSpec,
)
from pamc.task_sets import UnknownTaskError, all_task_sets, parse_task_set, sort_task_sets, task_set_text

__all__ = [
    "Budget",
    "DataSpec",
    "FunctionRef",
    "InputSpec",
    "MethodSpec",
    "Normalize",
    "PruneSpec",
    "QuantizeSpec",
    "Spec",
    "TaskSpec",
    "TrainSpec",
    "load_spec",
    "overridden",
    "schema",
    "task_set_text",
]

MAX_TASKS_FOR_ALL = 8

# The first is the default.
LOSSES = {"accuracy": ("cross_entropy", "binary"), "mae": ("mse",), "mse": ("mse",)}
BUDGETS = BudgetModel.model_fields.keys()
COSTS = BUDGETS - {"max_drop"}
ALL_LOSSES = ("cross_entropy", "binary", "mse")


def load_spec(path: Path) -> Spec:
    """The `Spec` in `path`; ConfigError with every problem of the file, each as file:line:column."""
    document = read_yaml(path)
    if not isinstance(document.value, dict):
        raise ConfigError("must hold keys and values", where=str(path), cure="start with the keys name, tasks and data")
    raw: dict[str, Any] = document.value
    check = Checker(document)
    check.unknown_keys(FileModel, {key: None for key in raw if key not in FileModel.model_fields}, (), exporters())
    settings = check.model(SettingsModel, {k: v for k, v in raw.items() if k in SettingsModel.model_fields}, ())
    emit = raw.get("emit", ["onnx"])
    if isinstance(emit, list) and all(isinstance(name, str) for name in emit):
        check.exporters(emit)
    tasks = _tasks(check, raw)
    names = tuple(tasks)
    sample = _input(check, raw)
    data = _data(check, raw)
    workload = _workload(check, raw.get("workload", "uniform"), names)
    merge = _merge(check, raw)
    prune = _prune(check, raw)
    train = check.model(TrainModel, raw.get("train", {}), ("train",))
    quantize = _quantize(check, raw.get("quantize", "none"))
    formats = _format_options(check, raw, emit)
    task_sets = _task_sets(check, raw.get("task_sets"), names)
    check.raise_if_any()
    assert settings is not None and data is not None and train is not None
    return Spec(
        path=path,
        root=path.resolve().parent,
        name=settings.name,
        input=sample,
        tasks=tuple(task for task in tasks.values() if task is not None),
        data=data,
        workload=workload,
        merge=merge,
        prune=prune,
        train=TrainSpec(**train.model_dump()),
        task_sets=task_sets,
        emit=tuple(settings.emit),
        format_options=formats,
        quantize=quantize,
        baseline=settings.baseline,
        seed=settings.seed,
        fold_bytes=settings.fold_bytes,
    )


def overridden(spec: Spec, quantize: str | None, emit: tuple[str, ...] | None, effort: Effort | None) -> Spec:
    """`spec` with what is given of a kind of numbers, formats and an effort. ConfigError for an unknown format."""
    for name in emit or ():
        find_exporter(name)
    kind = spec.quantize if quantize is None else replace(spec.quantize, kind=quantize)
    formats = spec.emit if emit is None else tuple(dict.fromkeys(emit))
    prune = spec.prune if effort is None else replace(spec.prune, effort=effort)
    return replace(spec, quantize=kind, emit=formats, prune=prune)


def schema() -> dict[str, Any]:
    """The JSON schema of model.yaml, with the methods and exporters that are installed."""
    result = FileModel.model_json_schema()
    result["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    parts = result["$defs"]
    parts["MergeModel"]["properties"]["method"]["enum"] = list(merge_methods().names())
    parts["PruneModel"]["properties"]["method"]["enum"] = list(prune_methods().names())
    result["properties"]["emit"]["items"]["enum"] = list(exporters())
    for name in exporters():
        result["properties"][name] = options_schema(type(find_exporter(name).parse_options({})))
    return result


def _tasks(check: Checker, raw: dict[str, Any]) -> dict[str, TaskSpec | None]:
    entries = raw.get("tasks")
    if not isinstance(entries, dict):
        cure = "tasks: {age: {model: ..., weights: ..., metric: ...}, smile: {...}}"
        if "tasks" in raw:
            check.add(("tasks",), "tasks must be a mapping from name to network", cure=cure)
        else:
            check.missing(("tasks",), cure)
        return {}
    # A duplicate that was dropped is its own problem: do not count without it.
    if not 2 <= len(entries) <= MAX_TASKS and not check.document.problems:
        check.add(("tasks",), f"pamc merges 2 to {MAX_TASKS} tasks, and here are {len(entries)}", key=True)
    seen: dict[str, str] = {}
    result: dict[str, TaskSpec | None] = {}
    for name, entry in entries.items():
        at = ("tasks", name)
        if not TASK_NAME.fullmatch(name):
            rule = "1 to 32 letters, digits, - and _, starting with a letter"
            check.add(at, f"a task cannot be called {name!r}", key=True, cure=f"use {rule}")
        elif name == "all":
            check.add(at, "a task cannot be called 'all', which stands for all tasks", key=True)
        elif name.lower() in seen:
            twin = seen[name.lower()]
            check.add(at, f"tasks '{twin}' and '{name}' differ only in case, and so would their files", key=True)
        seen.setdefault(name.lower(), name)
        result[name] = _task(check, name, entry)
    return result


def _task(check: Checker, name: str, entry: object) -> TaskSpec | None:
    at = ("tasks", name)
    model = check.model(TaskModel, entry, at)
    if isinstance(entry, dict):
        # Files are checked even if another key of the task is wrong: all problems at once.
        if isinstance(entry.get("model"), str):
            check.function(entry["model"], (*at, "model"))
        if isinstance(entry.get("weights"), str):
            check.weights(entry["weights"], (*at, "weights"))
        metric, loss = entry.get("metric"), entry.get("loss")
        fitting = LOSSES.get(metric) if isinstance(metric, str) else None
        if fitting is not None and loss not in (None, *fitting) and loss in ALL_LOSSES:
            what = f"loss '{loss}' does not go with metric '{metric}'"
            check.add((*at, "loss"), what, cure=f"use {' or '.join(fitting)}")
    if model is None:
        return None
    reference = check.reference(model.model)
    return TaskSpec(
        name=name,
        model=FunctionRef(*reference),
        args=model.args,
        weights=check.resolve(model.weights),
        metric=model.metric,
        loss=model.loss or LOSSES[model.metric][0],
        max_drop=model.max_drop,
    )


def _input(check: Checker, raw: dict[str, Any]) -> InputSpec | None:
    if "input" not in raw:
        return None
    entry = raw["input"]
    model = check.model(InputModel, entry, ("input",))
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if isinstance(shape, list) and len(shape) not in (1, 3):
        what = f"input.shape must be [channels, height, width] or [features], not {shape}"
        check.add(("input", "shape"), what, cure="leave the batch out")
    if model is None:
        return None
    if model.normalize is None:
        return InputSpec(tuple(model.shape), model.dtype)
    for key, values in (("mean", model.normalize.mean), ("std", model.normalize.std)):
        if len(values) != model.shape[0]:
            what = f"input.normalize.{key} has {len(values)} entries for {model.shape[0]} channels"
            check.add(("input", "normalize", key), what)
    return InputSpec(
        tuple(model.shape), model.dtype, Normalize(tuple(model.normalize.mean), tuple(model.normalize.std))
    )


def _data(check: Checker, raw: dict[str, Any]) -> DataSpec | None:
    if "data" not in raw:
        cure = 'data: {train: "data.py:train", eval: "data.py:evaluate"}'
        check.missing(("data",), cure)
        return None
    entry = raw["data"]
    model = check.model(DataModel, entry, ("data",))
    if isinstance(entry, dict):
        for key in ("train", "eval", "validation"):
            if isinstance(entry.get(key), str):
                check.function(entry[key], ("data", key))
    if model is None:
        return None
    references = {
        key: None if text is None else FunctionRef(*check.reference(text))
        for key, text in (("train", model.train), ("eval", model.eval), ("validation", model.validation))
    }
    train, evaluate = references["train"], references["eval"]
    assert train is not None and evaluate is not None
    return DataSpec(train, evaluate, references["validation"], model.samples)


def _methods(raw: dict[str, Any]) -> tuple[Any, Any]:
    """The merge method and the pruner of a file. What is not given goes with what is: merge after prune, which ends
    cheapest, as far as it can do what is asked; else prune after merge."""
    merge, prune = (entry if isinstance(entry, dict) else {} for entry in (raw.get("merge"), raw.get("prune")))
    apart = merge.get("method", "separate") == "separate"
    pruner = prune.get("method", "share" if apart and not _costs(prune) else "taylor")
    return merge.get("method", "separate" if pruner == "share" else "pam"), pruner


def _costs(prune: dict[str, Any]) -> bool:
    """Whether the budget is one of MACs."""
    budget = prune.get("budget")
    return isinstance(budget, dict) and any(budget.get(name) is not None for name in COSTS)


def _merge(check: Checker, raw: dict[str, Any]) -> MethodSpec:
    entry, (method, _) = raw.get("merge", {}), _methods(raw)
    model = check.model(MergeModel, entry, ("merge",))
    check.method(merge_methods, "merge", entry, method)
    return MethodSpec() if model is None else MethodSpec(method, model.options)


def _prune(check: Checker, raw: dict[str, Any]) -> PruneSpec:
    entry, (merge, method) = raw.get("prune", {}), _methods(raw)
    model = check.model(PruneModel, entry, ("prune",))
    if not isinstance(entry, dict):
        return PruneSpec()
    check.method(prune_methods, "prune", entry, method)
    budget, costs = entry.get("budget"), _costs(entry)
    if method == "none" and costs:
        check.add(("prune", "budget"), "a budget of MACs has no meaning with method none", key=True)
    # The pruner refuses these too, but only after the networks were pruned alone.
    if method == "share" and costs:
        cure = "budget: {max_drop: 1.0}, or another pruner"
        check.add(("prune", "budget"), "pruner 'share' works to an accuracy budget", key=True, cure=cure)
    if method == "share" and merge != "separate" and merge in method_names("merge"):
        what = f"pruner 'share' merges by itself, and cannot start from merge method '{merge}'"
        check.add(("prune", "method"), what, cure="merge: {method: separate}")
    if isinstance(budget, dict) and budget.keys() <= BUDGETS and sum(v is not None for v in budget.values()) != 1:
        what = "prune.budget must hold exactly one of max_drop, macs and expected_macs"
        check.add(("prune", "budget"), what, cure="budget: {max_drop: 1.0} or budget: {macs: 0.4}")
    if model is None:
        return PruneSpec()
    goal = PruneSpec().budget if model.budget is None else Budget(**model.budget.model_dump())
    return PruneSpec(method, goal, model.options, model.effort)


def _quantize(check: Checker, value: object) -> QuantizeSpec:
    kinds = get_args(QuantizeKind)
    if isinstance(value, str) and value not in kinds:
        what = f"quantize must be {' or '.join(kinds)}, not '{value}'{did_you_mean(value, kinds)}"
        check.add(("quantize",), what)
        return QuantizeSpec()
    entry = {"kind": value} if isinstance(value, str) else value
    model = check.model(QuantizeModel, entry, ("quantize",))
    return QuantizeSpec() if model is None else QuantizeSpec(**model.model_dump())


def _format_options(check: Checker, raw: dict[str, Any], emit: object) -> dict[str, dict[str, object]]:
    result: dict[str, dict[str, object]] = {}
    for name in exporters():
        if name not in raw:
            continue
        if isinstance(emit, list) and name not in emit:
            cure = f"add {name} to emit, or remove its options"
            check.add((name,), f"options for format '{name}', which is not emitted", key=True, cure=cure)
        result[name] = check.format_options(name, raw[name])
    return result


def _workload(check: Checker, value: object, tasks: tuple[str, ...]) -> dict[str, float]:
    if value == "uniform":
        sets = all_task_sets(tasks[:MAX_TASKS])
        return {text: 1 / len(sets) for text in sets}
    if not isinstance(value, dict) or not value:
        what = "workload must be uniform, or a mapping from task sets to probabilities"
        check.add(("workload",), what, cure=f"workload: {{{tasks[0] if tasks else 'age'}: 1.0}}")
        return {}
    result: dict[str, float] = {}
    clean = True
    for key, share in value.items():
        text = _task_set(check, key, ("workload", key), tasks, key=True)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            check.add(("workload", key), f"the probability of {key} must be a number from 0 to 1, not {share!r}")
            clean = False
        elif text in result:
            check.add(("workload", key), f"task set {text} is given twice", key=True)
            clean = False
        else:
            result[text or key] = float(share)
        clean = clean and text is not None
    total = sum(result.values())
    if clean and abs(total - 1) > 0.0101:
        check.add(("workload",), f"the probabilities of the workload sum to {total:g}, not to 1", key=True)
    if not clean or total <= 0:
        return {}
    return {text: result[text] / total for text in sort_task_sets(result, tasks)}


def _task_sets(check: Checker, value: object, tasks: tuple[str, ...]) -> tuple[str, ...]:
    if value is None:
        return all_task_sets(tasks) if len(tasks) <= 4 else (*tasks, task_set_text(tasks))
    if value == "all":
        if len(tasks) > MAX_TASKS_FOR_ALL:
            what = f"{len(tasks)} tasks have {2 ** len(tasks) - 1} task sets, too many to emit them all"
            check.add(("task_sets",), what, cure="list the task sets that your application asks for")
            return ()
        return all_task_sets(tasks)
    if not isinstance(value, list) or not value:
        cure = f"task_sets: [{', '.join((*tasks[:1], task_set_text(tasks[:2]))) or 'age, age+smile'}]"
        check.add(("task_sets",), "task_sets must be all, or a list of task sets", cure=cure)
        return ()
    sets: list[str] = []
    for index, item in enumerate(value):
        if not isinstance(item, str):
            check.add(("task_sets", index), f"a task set is written like a+b, not {item!r}")
            continue
        text = _task_set(check, item, ("task_sets", index), tasks)
        if text in sets:
            check.add(("task_sets", index), f"task set {text} is given twice")
        elif text is not None:
            sets.append(text)
    return sort_task_sets(sets, tasks)


def _task_set(
    check: Checker, text: str, at: tuple[str | int, ...], tasks: tuple[str, ...], *, key: bool = False
) -> str | None:
    if not tasks:
        return None
    try:
        return parse_task_set(text, tasks)
    except UnknownTaskError as error:
        hint = did_you_mean(error.name, tasks)
        check.add(at, f"unknown task '{error.name}'{hint}", key=key, cure=f"the tasks are: {', '.join(tasks)}")
    except ValueError as error:
        check.add(at, str(error), key=key)
    return None
