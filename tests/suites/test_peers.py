"""The suite that compares pamc with the alternatives: what is written, found, kept and measured."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from benchmarks.suites.datasets import Dataset, Sizes, digits
from benchmarks.suites.paper import nets
from benchmarks.suites.paper.rows import ROWS as CELLS
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import TASKS, normalized, train
from benchmarks.suites.peers import measuring
from benchmarks.suites.peers.by_torch_pruning import IMPORTANCES, Search, bisect, folder_of, graph_of, prune, pruned
from benchmarks.suites.peers.cli import main
from benchmarks.suites.peers.formats import installed
from benchmarks.suites.peers.measuring import AGAIN, EMPTY, Protocol, block, key_of
from benchmarks.suites.peers.networks import Comparison, jobs, networks, origin, originals
from benchmarks.suites.peers.programs import open_parts, write
from benchmarks.suites.peers.rows import OURS, rows
from benchmarks.suites.peers.suites import PRUNER, SUITES
from pamc.bundle.cache import cache_root
from pamc.errors import InternalError
from pamc.graph import MultitaskGraph, cost, costs, name_of, restrict
from pamc.scoring import Scorer
from pamc.train import Samples, predict
from tests.zoo.captured import aligned, random_owners

ROOT = Path(__file__).parents[2]
SETUP = SUITES["digits"].setups["smoke"]
NAMES = ("a", "b", "a+b")
# No operation has a price there, so nothing folds.
UNPRICED = "armv7"
TWICE = Search(importances=(IMPORTANCES[0],) * 2, candidates=2, images=64)
"""The same twice: what is no smaller than the best so far must come."""


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The digits, with trained networks and nothing else."""
    found = Comparison(SETUP, 0, Store(tmp_path_factory.mktemp("store")), TWICE)
    for task in found.tasks:
        train(SETUP.networks, 0, task, found.store.weights(SETUP.networks, 0, task))
    return found


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(SETUP.networks.sizes, 0)


@pytest.fixture(scope="module")
def merged() -> MultitaskGraph:
    return random_owners(aligned("lenet", 2), 3)


def test_every_suite_names_known_data_and_ours_is_any_row_of_the_paper() -> None:
    assert {setup.networks.data for suite in SUITES.values() for setup in suite.setups.values()} <= {*TASKS}
    for name, cell in CELLS.items():
        every = rows(name)
        assert [*every][-1] == OURS and every[OURS].cell == name
        assert all(row.cell in CELLS and PRUNER in CELLS[row.cell].pruners for row in every.values() if row.cell)
        assert cell.name == name


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("packing", ["separate", "all-outputs", "pam"])
def test_what_runs_for_a_task_set(packing: str, format: str, merged: MultitaskGraph, tmp_path: Path) -> None:
    row = rows("share")[packing]
    if packing == "separate":
        merged = aligned("lenet", 2)
    given = {name: restrict(merged, [name]) for name in "ab"} if packing == "separate" else {"a+b": merged}
    written = write(row, given, tmp_path / "files", format)
    assert tuple(written.programs) == NAMES
    opened = {name: [task_set for _, task_set in program.parts] for name, program in written.programs.items()}
    macs = {name: written.programs[name].macs for name in NAMES}
    by_set = {name_of(mask, merged.tasks): found.macs for mask, found in costs(merged).items()}
    if packing == "separate":
        assert opened == {"a": ["a"], "b": ["b"], "a+b": ["a", "b"]}
        assert macs == {"a": by_set["a"], "b": by_set["b"], "a+b": by_set["a"] + by_set["b"]}
        assert written.programs["a+b"].bytes == written.programs["a"].bytes + written.programs["b"].bytes
    elif packing == "all-outputs":
        assert opened == {name: ["a+b"] for name in NAMES}
        assert macs == dict.fromkeys(NAMES, by_set["a+b"])
    else:
        assert opened == {name: [name] for name in NAMES}
        assert macs == by_set
        # One copy of what is shared, but a graph for each task set. Where groups fold, sets have weights of their own.
        unfolded = write(row, given, tmp_path / "unfolded", format, UNPRICED)
        assert unfolded.programs["a+b"].bytes < unfolded.bytes < sum(item.bytes for item in unfolded.programs.values())
    x = np.random.default_rng(0).standard_normal((3, *merged.graph.shapes[merged.graph.input.name]))
    wanted = predict(merged, x.astype(np.float32))
    for name in NAMES:
        found: dict[str, np.ndarray] = {}
        for session in open_parts(written, name):
            found |= session.run(x.astype(np.float32))
        assert {*found} >= {*name.split("+")}
        for task in name.split("+"):
            np.testing.assert_allclose(found[task], wanted[task], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("edge", [0.0, 0.3, 0.61, 1.0])
def test_bisection_ends_beside_the_edge(edge: float) -> None:
    tried: list[float] = []

    def inside(ratio: float) -> bool:
        tried.append(ratio)
        return ratio <= edge

    found = bisect(inside, 6)
    assert found <= edge < found + 2**-6 or edge == 1.0
    assert len(tried) == 6 and all(0 < ratio < 1 for ratio in tried)


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_torch_pruning_leaves_what_it_was_asked_for(importance: str, data: Dataset) -> None:
    module = nets.make("lenet", data.shape, 10, {}, seed=1)
    left = pruned(module, data, "digit", importance, 0.5, Search(images=32))
    net = graph_of(left, data, "digit")
    whole = graph_of(nets.make("lenet", data.shape, 10, {}, seed=1), data, "digit")
    kept = sum(net.spaces.sizes[space] for space in net.prunable)
    assert kept == pytest.approx(0.5 * sum(whole.spaces.sizes[space] for space in whole.prunable), abs=2)
    assert cost(net, 1).macs < cost(whole, 1).macs
    x = data.test.x[:8]
    with torch.no_grad():
        wanted = left(normalized(torch.from_numpy(x), data)).numpy()
    np.testing.assert_allclose(predict(net, x)["digit"], wanted, rtol=1e-4, atol=1e-4)


def test_the_smallest_network_inside_the_budget_is_kept(comparison: Comparison, data: Dataset) -> None:
    prune(SETUP, 0, "digit", comparison.store, comparison.search)
    folder = folder_of(comparison.store, SETUP, 0, "digit", comparison.search)
    result = comparison.store.result(folder)
    assert result is not None
    net = comparison.store.network(folder)
    whole = originals(comparison)
    inside = [trial["macs"] for trial in result["trials"] if trial.get("drop", np.inf) <= SETUP.max_drop]
    assert inside and cost(net, 1).macs == result["macs"] == min(inside) < cost(restrict(whole, ["digit"]), 1).macs
    taught = Samples(data.validation.x, data.validation.labels, predict(whole, data.validation.x))
    drop = Scorer(data.targets, taught).drops(net)["digit"]
    (chosen,) = [trial for trial in result["trials"] if trial["macs"] == result["macs"] and "drop" in trial]
    assert drop == pytest.approx(chosen["drop"]) and drop <= SETUP.max_drop
    # What could not be smaller than the best was not trained.
    assert any("drop" not in trial for trial in result["trials"])
    for number, trial in enumerate(result["trials"]):
        best = min(
            [t["macs"] for t in result["trials"][:number] if t.get("drop", np.inf) <= SETUP.max_drop], default=1e9
        )
        assert ("drop" in trial) == (trial["macs"] < best)


def test_only_what_is_missing_is_planned(comparison: Comparison, tmp_path: Path) -> None:
    every = rows("share")
    chosen = [every["torch-pruning"], every["hard"]]
    empty = replace(comparison, store=Store(tmp_path))
    todo = {job.name: job.needs for job in jobs(empty, chosen)}
    trained = tuple(f"train {task} seed 0" for task in comparison.tasks)
    pruning = tuple(f"torch-pruning {task} seed 0" for task in comparison.tasks)
    assert {*todo} == {*trained, *pruning, "pam taylor seed 0", "hard taylor seed 0"}
    assert all(todo[name] == trained for name in pruning)
    assert {*todo["hard taylor seed 0"]} == {*trained, "pam taylor seed 0"}
    assert networks(empty, every["separate"]) == "the networks of digit, stroke3, slant3 are not trained"

    assert jobs(comparison, [every["separate"]]) == []
    assert networks(comparison, every["hard"]) == "not computed"
    cell = comparison.cell(every["pam"])
    comparison.store.keep(cell.folder, {"row": "pam", "missed": "too small a budget"}, None)
    assert networks(comparison, every["pam"]) == "no network kept the budget"
    assert origin(comparison, every["pam"])["missed"] == "too small a budget"


def test_files_are_judged_by_what_they_answer(comparison: Comparison, tmp_path: Path) -> None:
    row = rows("share")["separate"]
    given = networks(comparison, row)
    assert not isinstance(given, str)
    written = write(row, given, tmp_path / "right", "onnx")
    found = measuring.answered(written, comparison, row)
    data = digits(SETUP.networks.sizes, 0)
    wanted = Scorer(data.targets, replace(data.test, teacher=predict(originals(comparison), data.test.x))).scores(
        originals(comparison)
    )
    for task_set, accuracies in found["accuracies"].items():
        assert accuracies == pytest.approx({task: wanted[task] for task in task_set.split("+")})
    assert len(found["accuracies"]) == 7 and found["error"] < 1e-4

    task = comparison.tasks[1]
    params = {key: array * 1.01 for key, array in given[task].graph.params.items()}
    wrong = write(row, {**given, task: given[task].with_params(params)}, tmp_path / "wrong", "onnx")
    with pytest.raises(InternalError, match="do not compute what their networks do"):
        measuring.answered(wrong, comparison, row)


def test_the_key_of_files_is_of_their_content(merged: MultitaskGraph, tmp_path: Path) -> None:
    row = rows("share")["pam"]
    one, same = (write(row, {"a+b": merged}, tmp_path / name, "onnx") for name in ("one", "same"))
    params = {key: array + 1 for key, array in merged.graph.params.items()}
    other = write(row, {"a+b": merged.with_params(params)}, tmp_path / "other", "onnx")
    whole = write(rows("share")["all-outputs"], {"a+b": merged}, tmp_path / "whole", "onnx")
    assert key_of(one) == key_of(same)
    assert len({key_of(one), key_of(other), key_of(whole)}) == 3


def test_memory_grows_with_the_weights(comparison: Comparison, data: Dataset, tmp_path: Path) -> None:
    row = rows("share")["separate"]
    added = {}
    for hidden in (16, 4096):
        module = nets.make("vgg", (1, 28, 28), 10, {"width": 16, "hidden": hidden}, seed=0)
        written = write(row, {"digit": graph_of(module, data, "digit")}, tmp_path / str(hidden), "onnx")
        found = measuring.resident(written, comparison)["resident"]["digit"]
        added[hidden] = found["added"]
        assert found["peak"] > found["added"] > 0
        size = 4 * sum(array.size for array in graph_of(module, data, "digit").graph.params.values()) / 1024
    assert added[4096] - added[16] > 0.8 * (size - 4 * 1024 * 0.1)


def test_a_block_times_every_row_of_every_task_set(comparison: Comparison, tmp_path: Path) -> None:
    every = rows("share")
    separate = networks(comparison, every["separate"])
    whole = networks(comparison, every["all-outputs"])
    assert not isinstance(separate, str) and not isinstance(whole, str)
    written = {
        "separate": write(every["separate"], separate, tmp_path / "separate", "onnx"),
        "all-outputs": write(every["all-outputs"], whole, tmp_path / "whole", "onnx"),
    }
    found = block(written, comparison, Protocol(blocks=1, runs=45, seconds=0.0, warmup_seconds=0.001), 0)["ns"]
    assert len(found) == 7
    assert all({*times} == {"separate", "all-outputs", AGAIN, EMPTY} for times in found.values())
    assert all(item["median"] > 0 and item["runs"] >= 45 for times in found.values() for item in times.values())
    assert all(times[EMPTY]["median"] < times["separate"]["median"] for times in found.values())

    def part(request: str) -> float:
        # Rows of one task set are interleaved: what slows the machine down for a while slows down both.
        return float(found[request]["separate"]["median"] / found[request]["all-outputs"]["median"])

    # Three networks one after another take longer than one; one graph takes what all take, whatever is asked.
    assert part("digit+stroke3+slant3") > 2 * part("digit")
    assert part("digit") < 1 / 1.5


def test_unknown_rows_are_refused() -> None:
    answer = CliRunner().invoke(main, ["digits", "--rows", "separate,ourz"])
    assert answer.exit_code == 2 and "did you mean 'ours'" in answer.output


@pytest.mark.skipif(installed("executorch"), reason="ExecuTorch is installed")
def test_a_format_without_its_runtime_is_refused() -> None:
    answer = CliRunner().invoke(main, ["digits", "--cached", "--formats", "onnx,executorch"])
    assert answer.exit_code == 2 and "pip install executorch" in answer.output


@pytest.mark.slow  # a process for every job, and each imports torch
def test_a_suite_from_end_to_end_and_again(comparison: Comparison, tmp_path: Path) -> None:
    digits(Sizes(1, 1, 1), 0)
    (tmp_path / "data").symlink_to(cache_root() / "data")
    (tmp_path / "suites").symlink_to(comparison.store.root)
    given = ["digits", "--scale", "smoke", "--rows", "separate,torch-pruning", "--formats", "onnx"]
    given += ["--blocks", "2", "--runs", "10", "--out", str(tmp_path / "out")]
    command = [sys.executable, str(ROOT / "benchmarks" / "suites" / "peers"), *given]
    paths = {**os.environ, "PAMC_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.run(command, capture_output=True, text=True, env=paths, check=False)
    assert first.returncode == 0, first.stderr
    made = json.loads((tmp_path / "out" / "peers-digits.json").read_text())
    assert {row["name"]: row["missing"] for row in made["rows"]} == {"separate": None, "torch-pruning": None}
    assert {*made["rows"][1]["origin"]} == {*comparison.tasks}
    assert len(made["figures"]) == 2 * 7 and len(made["times"]) == 4 * 7
    assert {*(tmp_path / "out").iterdir()} == {
        tmp_path / "out" / f"peers-digits.{end}" for end in ("json", "md", "svg")
    }

    second = subprocess.run(command, capture_output=True, text=True, env=paths, check=False)
    assert second.returncode == 0 and "jobs" not in second.stdout
    again = json.loads((tmp_path / "out" / "peers-digits.json").read_text())
    assert again["figures"] == made["figures"] and again["times"] == made["times"]
