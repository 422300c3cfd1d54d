"""The results of a suite as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.suites.paper.pareto import Curves, point_of
from benchmarks.suites.paper.results import MATCHED, Quantity, Results, View
from benchmarks.suites.paper.rows import REFERENCE, ROWS
from benchmarks.suites.paper.stats import Mean, mean_of
from benchmarks.suites.paper.verdicts import verdicts
from pamc.ownership import ownership_picture

__all__ = ["render"]

NONE = "–"
PICTURED = (REFERENCE, "share")
NESTED = (
    "While a single task costs what it costs alone, a task set costs at least what its dearest task does. A network in "
    "which each set costs just that, the units of every task being among those of all dearer ones, would take {nested} "
    "of B1's FLOPs in the mean of all sets."
)
Column = tuple[str, Callable[[View], str]]


def render(results: Results, plots: Mapping[str, Mapping[str, str]], curves: Mapping[str, Curves]) -> str:
    """The page of a suite. ``plots`` are file names by what they show, by pruner; ``curves`` are by pruner too."""
    held = results.held
    seeds = len({cell["seed"] for cell in held["cells"]})
    parts = [
        f"# {held['title']}\n",
        _code(held["command"]),
        f"{held['machine']}. {seeds} seed{'s' if seeds != 1 else ''}; scale *{held['scale']}*: {_setup(results)}\n",
        "`python benchmarks/suites/paper render` makes this page again from the JSON file of the same name.\n",
        "How to read it:\n",
        _guide(results),
    ]
    for pruner in results.pruners:
        parts += _section(results, pruner, plots.get(pruner, {}), curves.get(pruner))
    parts += ["## Methods\n", _methods(results)]
    return "\n".join(parts)


def _section(results: Results, pruner: str, plots: Mapping[str, str], curves: Curves | None) -> list[str]:
    rows = results.rows(pruner)
    parts = [f"## Pruner: {pruner}\n"]
    parts += [f"![{title}]({file})\n" for title, file in plots.items()]
    if curves is not None:
        parts += ["### All budgets\n", *_curves(curves)]
        parts.append(f"The rest of this page is of the suite's own budget, {results.budget:g}.\n")
    if missed := [row for row in rows if results.missed(row, pruner)]:
        told = ", ".join(f"{ROWS[row].label} ({results.missed(row, pruner)})" for row in missed)
        parts.append(f"No network within the budget, seeds: {told}. Their figures are of the other seeds.\n")
    if verdicts(results, pruner):
        parts += ["### Expected and got\n", _verdict_table(results, pruner)]
    parts += ["### Test accuracy, %\n", _accuracy_table(results, pruner, rows)]
    parts += ["### FLOPs, millions\n", _cost_table(results, pruner, rows, "flops")]
    if REFERENCE in rows:
        parts += ["### FLOPs over those of PAM\n", _ratio_table(results, pruner, rows, under=REFERENCE)]
    if "b1" in rows:
        parts += ["### FLOPs of B1 over those of the method\n", _ratio_table(results, pruner, rows, over="b1")]
        parts += ["### What sharing can gain\n", _nested(results, pruner)]
    parts += ["### MACs, millions\n", _cost_table(results, pruner, rows, "macs")]
    parts += ["### Parameters, thousands\n", _cost_table(results, pruner, rows, "params")]
    drawn = {row: owners for row in PICTURED if (owners := results.owners(row, pruner)) is not None}
    if drawn:
        parts.append("### Who owns what\n")
        parts.append("A column is a unit, filled where the task owns it. The networks of the first seed.\n")
    for row, owners in drawn.items():
        parts.append(f"{_label(row)}:\n\n```text\n{ownership_picture(results.tasks, owners)}\n```\n")
    return parts


def _curves(curves: Curves) -> list[str]:
    budgets = [f"{results.budget:g}" for results in curves.budgets]
    commands = "".join(_code(f"{results.held['command']}  # {results.budget:g}") for results in curves.budgets)
    return [
        f"![accuracy against expected cost]({curves.file})\n",
        f"A curve is a method; its points are budgets, in this order: {', '.join(budgets)} points. Expected cost is "
        "the mean of all task sets, accuracy the mean of all tasks. Bars are 95 % intervals over seeds; a bar is cut "
        "where it leaves the frame.\n",
        _curves_table(curves),
        "The commands, with their budgets:\n",
        commands,
    ]


def _curves_table(curves: Curves) -> str:
    whole = curves.unpruned
    lines = [["as trained", NONE, str(whole.accuracy.count), f"{whole.cost.value:.3f}", _mean(whole.accuracy, 2)]]
    for row in curves.rows:
        for results in curves.budgets:
            if row not in results.rows(curves.pruner):
                continue
            point = point_of(results, row, curves.pruner, results.everything)
            missed = results.missed(row, curves.pruner)
            kept = 0 if point is None else point.cost.count
            figures = [NONE, NONE] if point is None else [_mean(point.cost, 3), _mean(point.accuracy, 2)]
            seeds = f"{kept} of {kept + missed}" if missed else str(kept)
            lines.append([_label(row), f"{results.budget:g}", seeds, *figures])
    return _table(["method", "budget, points", "seeds", "expected cost, MFLOPs", "mean test accuracy, %"], lines)


def _verdict_table(results: Results, pruner: str) -> str:
    lines = []
    for verdict in verdicts(results, pruner):
        claim = verdict.claim
        unit = " points" if claim.sets is None else ""
        lines.append(
            [
                claim.text,
                f"≥ {claim.least:g}{unit}",
                claim.source,
                NONE if verdict.found is None else _mean(verdict.found, 2) + unit,
                f"**{verdict.word}**",
            ]
        )
    return _table(["claim", "expected", "paper", "got", "verdict"], lines)


def _accuracy_table(results: Results, pruner: str, rows: Sequence[str]) -> str:
    def cells(tasks: Sequence[str]) -> list[str]:
        found = [results.originals(tasks), *(results.accuracies(row, pruner, tasks) for row in rows)]
        return [_of(values, 2) for values in found]

    lines = [[task, *cells((task,))] for task in results.tasks]
    return _table(["task", "as trained", *map(_label, rows)], [*lines, ["*mean*", *cells(results.tasks)]])


def _cost_table(results: Results, pruner: str, rows: Sequence[str], quantity: Quantity) -> str:
    unit = 1e3 if quantity == "params" else 1e6
    lines = []
    for view in (*results.views, results.everything):
        whole = f"{results.unpruned(view, quantity) / unit:.3f}"
        found = [results.costs(row, pruner, view, quantity) for row in rows]
        lines.append(
            [
                view.label,
                whole,
                *(_of({seed: value / unit for seed, value in values.items()}, 3) for values in found),
            ]
        )
    return _table(["task set", "as trained", *map(_label, rows)], lines)


def _ratio_table(results: Results, pruner: str, rows: Sequence[str], over: str = "", under: str = "") -> str:
    """Ratios ``row / under`` or ``over / row``; unmatched columns are marked in their heads."""
    fixed = over or under
    shown = [row for row in rows if row != fixed]
    heads = [_label(row) + ("" if results.matched(row, fixed, pruner) else " ≠") for row in shown]
    lines = []
    for view in (*results.views, results.everything):
        found = [results.ratio(over or row, under or row, pruner, view) for row in shown]
        lines.append([view.label, *(NONE if ratio is None else _mean(ratio, 2) for ratio in found)])
    return _table(["task set", *heads], lines)


def _nested(results: Results, pruner: str) -> str:
    alone = results.costs("b1", pruner, results.everything, "flops")
    nested = results.nested("b1", pruner, "flops")
    told = NESTED.format(nested=_of({seed: nested[seed] / alone[seed] for seed in alone}, 2))
    if part := results.ratio("share", "b1", pruner, results.everything):
        found = results.costs("share", pruner, results.everything, "flops")
        common = sorted(alone.keys() & found.keys())
        saved = {seed: 100 * (alone[seed] - found[seed]) / (alone[seed] - nested[seed]) for seed in common}
        told += f" {_label('share')} takes {_mean(part, 2)}: {_of(saved, 0)} % of that saving."
    return f"{told}\n"


def _guide(results: Results) -> str:
    tasks = len(results.tasks)
    lines = [
        "Every row but the last two controls prunes within the same budget: the smallest network that loses at most "
        f"{results.budget:g} points of validation accuracy on every task. Accuracies in the tables "
        "are of test images that nothing was chosen on.",
        "FLOPs count as the paper does: multiplications and additions, 2 MACs less one for each value of a layer with "
        "weights. Counts are exact.",
        f"With {tasks} tasks there are {2**tasks - 1} task sets. A mean over sets is the mean of their costs.",
        "A figure is the mean over seeds, ± half of its 95 % t-interval. Ratios are taken seed by seed.",
        "The bars of a plot are the same intervals, cut where they leave the frame.",
        f"≠ marks a comparison whose mean accuracies differ by more than {MATCHED:g} points: its costs cannot be "
        "compared.",
        "A claim *holds* when the whole interval agrees, *holds on average* when only the mean does, or there is one "
        "seed.",
    ]
    return "".join(f"- {line}\n" for line in lines)


def _methods(results: Results) -> str:
    names = dict.fromkeys(row for pruner in results.pruners for row in results.rows(pruner))
    seconds = {row: results.seconds(row) for row in names}
    lines = [[_label(row), ROWS[row].about, f"{seconds[row]:.0f}"] for row in names]
    return _table(["method", "what it does", "seconds per run"], lines, left=2)


def _setup(results: Results) -> str:
    networks = results.held["setup"]["networks"]
    images = ", ".join(f"{count} {part}" for part, count in networks["sizes"].items())
    return f"{networks['net']} on {networks['data']} ({images} images), trained for {networks['epochs']} epochs."


def _label(row: str) -> str:
    return ROWS[row].label


def _of(values: Mapping[int, float], digits: int) -> str:
    return _mean(mean_of([*values.values()]), digits) if values else NONE


def _mean(mean: Mean, digits: int) -> str:
    text = f"{mean.value:.{digits}f}"
    return text if mean.half is None else f"{text} ± {mean.half:.{digits}f}"


def _code(text: str) -> str:
    return f"    {text}\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows]) + "\n"
