"""The results of a suite as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from benchmarks.suites.peers.results import Results
from benchmarks.suites.peers.rows import OURS
from pamc_bench.stats import Interval

__all__ = ["page"]

NONE = "–"
NAMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT", "executorch": "ExecuTorch with XNNPACK"}

GUIDE = """How to read it:

- *accuracy* is that of the files themselves on the test images, the mean of all tasks. A budget holds on the validation
  images, so a row may lose a little more here.
- *MACs*, *ms*, *memory* and *instructions* have a value for every task set. Given are the mean of the single tasks, all
  tasks at once, and the mean of all task sets: what a request costs when every set is equally likely.
- *ms* is CPU time of one thread, the median of the medians of the blocks, with its 95 % interval over the blocks. The
  rows of a task set run in turn, in an order drawn anew each round; every block is a process of its own. Networks that
  run one after another count together, and so does what it takes to call each of them from Python.
- *files* are all that the device holds for every task set, in kB (1000 bytes); *one task* are those of a single task by
  itself.
- *memory* is what opening the files and running them adds to a process that has only imported the runtime, code of the
  runtime that is read at the first inference among it.
- *instructions* are counted in files planned for arm64, as a board would get them; times, sizes and memory are of files
  planned for x86-64, on which they were measured.
"""


def page(results: Results, plot: str) -> str:
    """The page of a results file; ``plot`` is the file name of its plot."""
    held = results.held
    protocol, setup = held["protocol"], held["setup"]
    parts = [
        f"# Side by side: {held['title']}\n",
        f"    {held['command']}\n",
        f"{held['created'][:10]}. {held['environment']}{_load(held['load_after'])}. "
        f"Scale *{held['scale']}*, seed {held['seed']}: every task may lose {setup['max_drop']:g} points of "
        f"validation accuracy. {protocol['blocks']} blocks, in each at least {protocol['runs']} runs of every row and "
        "task set, one thread. "
        "`python benchmarks/suites/peers render` makes this page again from the JSON file of the same name, which has "
        "every task set.\n",
        f"![time by number of tasks]({plot})\n",
        GUIDE,
    ]
    for runtime in results.runtimes:
        parts += [f"## {NAMES[runtime]}\n", *_summary(results, runtime), ""]
        parts += _versus(results, runtime)
        parts += ["### Milliseconds by task set\n", *_sets(results, runtime, "ms"), ""]
    first = results.runtimes[0]
    parts += [f"## MACs by task set, thousands ({NAMES[first]})\n", *_sets(results, first, "macs"), ""]
    if results.boards:
        parts += ["## A64 instructions, thousands (ONNX Runtime)\n", *_instructions(results), ""]
    parts += ["## Rows\n", *_rows(results), ""]
    return "\n".join(parts)


def _load(load: float | None) -> str:
    return "" if load is None else f", load {load:.1f} afterwards"


def _summary(results: Results, runtime: str) -> Iterator[str]:
    heads = ["row", "accuracy, %"]
    heads += [f"{what}, {view}" for what in ("MACs, k", "ms") for view in ("one task", "all tasks", "mean of sets")]
    heads += ["files, kB", "one task, kB", "memory, KiB, one task", "memory, KiB, all tasks"]
    called = 1e3 * results.call(runtime)
    yield (
        f"A file that computes next to nothing takes {called:.1f} µs when it is called as these are. A row with a file "
        "for each task pays that for every task asked for.\n"
    )
    yield from _head(heads)
    single, whole = results.of_size(1), results.sets[-1:]
    for row in _measured(results, runtime):
        cells = [results.label(row), f"{results.accuracy(row, runtime):.2f}"]
        views = (single, whole, results.sets)
        cells += [f"{results.mean(row, runtime, sets, 'macs') / 1e3:,.1f}" for sets in views]
        cells += [_interval(results.expected(row, runtime, sets)) for sets in views]
        held = results.figure(row, runtime, whole[0])
        cells.append(f"{held['bytes_of_all_sets'] / 1e3:,.1f}")
        cells.append(f"{results.mean(row, runtime, single, 'bytes') / 1e3:,.1f}")
        cells += [
            f"{fmean(results.figure(row, runtime, name)['resident_kib']['added'] for name in sets):,.0f}"
            for sets in (single, whole)
        ]
        yield _line(cells)


def _versus(results: Results, runtime: str) -> Iterator[str]:
    """By how much pamc's row differs in time from each of the others."""
    others = [row for row in _measured(results, runtime) if row != OURS]
    if not results.has(OURS, runtime) or not others:
        return
    ours = results.label(OURS)
    yield f"### Time of {ours} against the others\n"
    noise = results.noise(runtime)
    yield f"{ours} measured twice in the same blocks differs from itself by {noise:.1%} (median of the task sets).\n"
    yield from _head([f"{ours} against", "one task", "all tasks", "mean of sets"])
    for row in others:
        views = (results.of_size(1), results.sets[-1:], results.sets)
        yield _line([results.label(row), *(_change(results.change(OURS, row, runtime, sets)) for sets in views)])
    yield ""


def _sets(results: Results, runtime: str, quantity: str) -> Iterator[str]:
    rows = _measured(results, runtime)
    yield from _head(["task set", *map(results.label, rows)])
    for name in results.sets:
        if quantity == "ms":
            cells = [f"{results.time(row, runtime, name)['ms']:.4f}" for row in rows]
        else:
            cells = [f"{results.figure(row, runtime, name)[quantity] / 1e3:,.1f}" for row in rows]
        yield _line([name, *cells])


def _instructions(results: Results) -> Iterator[str]:
    heads = [f"{board}, {view}" for board in results.boards for view in ("one task", "all tasks", "mean of sets")]
    yield from _head(["row", *heads])
    for row in _measured(results, "onnxruntime"):
        cells = [results.label(row)]
        for board in results.boards:
            for sets in (results.of_size(1), results.sets[-1:], results.sets):
                counts = [results.figure(row, "onnxruntime", name)["instructions"].get(board) for name in sets]
                known = [count for count in counts if count is not None]
                cells.append(f"{fmean(known) / 1e3:,.1f}" if len(known) == len(counts) else NONE)
        yield _line(cells)


def _rows(results: Results) -> Iterator[str]:
    for row in results.held["rows"]:
        missing = f" **Not measured: {row['missing']}.**" if row["missing"] else ""
        yield f"- *{row['label']}*: {row['about']}.{missing}"


def _measured(results: Results, runtime: str) -> list[str]:
    return [row for row in results.rows if results.has(row, runtime)]


def _interval(found: Interval) -> str:
    return f"{found.value:.4f} ({found.low:.4f}–{found.high:.4f})"


def _change(found: Interval) -> str:
    return f"{found.value:+.1%} ({found.low:+.1%} to {found.high:+.1%})"


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield _line(["---", *("---:" for _ in names[1:])])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
