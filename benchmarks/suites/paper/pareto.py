"""A suite at several budgets: what each method costs and how accurate it is, one point a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suites.paper.results import Found, Results, View, read
from benchmarks.suites.paper.rows import ROWS
from benchmarks.suites.paper.stats import Mean, mean_of

__all__ = ["Curves", "Point", "curves", "point_of", "with_suites"]


@dataclass(frozen=True, slots=True)
class Point:
    """A method at one budget, means over seeds: MFLOPs, the mean of some task sets; percent, the mean of all tasks."""

    cost: Mean
    accuracy: Mean


@dataclass(frozen=True)
class Curves:
    """The results with one pruner at several budgets, the suite's own among them, in the order of the budgets."""

    pruner: str
    own: Results
    budgets: tuple[Results, ...]

    @property
    def file(self) -> str:
        """The name of the drawing."""
        return f"{self.own.held['suite']}-{self.pruner}-pareto.svg"

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows with results at any budget, in the order of the suites."""
        present = {row for results in self.budgets for row in results.rows(self.pruner)}
        return tuple(name for name in ROWS if name in present)

    @property
    def unpruned(self) -> Point:
        """The single-task networks as they came."""
        originals = self.own.originals(self.own.tasks)
        cost = self.own.unpruned(self.own.everything, "flops") / 1e6
        return Point(mean_of([cost]), mean_of([*originals.values()]))

    def points(self, row: str) -> tuple[Point, ...]:
        """A point for each budget that a seed's network kept, in the order of the budgets."""
        found = [point_of(results, row, self.pruner, results.everything) for results in self.budgets]
        return tuple(point for point in found if point is not None)


def point_of(results: Results, row: str, pruner: str, view: View) -> Point | None:
    """A row at the budget of ``results``, with the cost of the sets of ``view``.

    None where no network kept the budget, or the row was not asked for.
    """
    costs = results.costs(row, pruner, view, "flops")
    accuracies = results.accuracies(row, pruner, results.tasks)
    if not costs:
        return None
    return Point(mean_of([value / 1e6 for value in costs.values()]), mean_of([*accuracies.values()]))


def with_suites(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The results files, and those of the suites whose curves they may be part of; each once."""
    own = [path.with_name(f"{read(path).held['suite']}.json") for path in paths]
    return tuple(dict.fromkeys([*paths, *(path for path in own if path.exists())]))


def curves(path: Path) -> dict[str, Curves]:
    """The curves of a suite by pruner, from its results file and those of other budgets beside it.

    There are none of a pruner with which no row has two points. A file whose settings differ in more than the budget is
    left out.
    """
    own = read(path)
    taken = {own.budget: own}
    for other in map(read, sorted(path.parent.glob(f"{path.stem}-drop-*.json"))):
        if all(_alike(other, one) for one in taken.values()):
            taken.setdefault(other.budget, other)
    ordered = [taken[budget] for budget in sorted(taken)]
    found = {}
    for pruner in own.pruners:
        drawn = Curves(pruner, own, tuple(results for results in ordered if pruner in results.pruners))
        if any(len(drawn.points(row)) > 1 for row in drawn.rows):
            found[pruner] = drawn
    return found


def _alike(one: Results, other: Results) -> bool:
    """Whether nothing that decides about the figures differs but the budget and which rows and seeds there are."""
    made, other_made = _made(one), _made(other)
    return _settings(one.held) == _settings(other.held) and all(
        made[row] == other_made[row] for row in made.keys() & other_made.keys()
    )


def _settings(held: Found) -> tuple[object, ...]:
    setup = {name: value for name, value in held["setup"].items() if name != "max_drop"}
    return held["suite"], held["scale"], held["version"], setup


def _made(results: Results) -> dict[tuple[str, str], object]:
    """The methods and options of every row and pruner."""
    return {(cell["row"], cell["pruner"]): (cell["merge"], cell["prune"]) for cell in results.held["cells"]}
