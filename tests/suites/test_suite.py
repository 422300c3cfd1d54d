"""Suites as a whole: what is planned, what is kept, and one that runs from end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.suites.datasets import Sizes, digits
from benchmarks.suites.paper.cli import main
from benchmarks.suites.paper.plan import cells, jobs
from benchmarks.suites.paper.rows import PRUNERS, REFERENCE, ROWS
from benchmarks.suites.paper.setups import SCALES, SUITES
from benchmarks.suites.paper.store import Store
from benchmarks.suites.paper.train import DATASETS, TASKS
from pamc.bundle.cache import cache_root
from pamc.merge import METHODS as MERGE_METHODS
from pamc.prune import METHODS as PRUNE_METHODS
from tests.suites.made import missed

ROOT = Path(__file__).parents[2]
SETUP = SUITES["mnist-5"].setups["smoke"]


def test_every_row_names_registered_methods_and_options() -> None:
    for row in ROWS.values():
        MERGE_METHODS.parse_options(row.merge, row.options)
    for suite in SUITES.values():
        for setup in suite.setups.values():
            for name, options in setup.pruners.items():
                PRUNE_METHODS.parse_options(name, options)
            for name, options in setup.merges.items():
                MERGE_METHODS.parse_options(name, options)
    assert {*PRUNERS} <= {*PRUNE_METHODS.names()} and ROWS[REFERENCE].needs is None
    assert all(row.pruners and {*row.pruners} <= {*PRUNERS} for row in ROWS.values())


def test_every_suite_has_all_scales_and_known_data() -> None:
    assert len(SUITES) == 5
    assert all({*suite.setups} == {*SCALES} for suite in SUITES.values())
    assert (
        {setup.networks.data for suite in SUITES.values() for setup in suite.setups.values()} == {*DATASETS} == {*TASKS}
    )


def test_a_row_brings_the_row_that_it_needs(tmp_path: Path) -> None:
    wanted = cells(SETUP, ["hard"], PRUNERS, 2, Store(tmp_path))
    assert [(cell.row.name, cell.pruner, cell.seed) for cell in wanted] == [
        (row, pruner, seed)
        for seed in (0, 1)
        for row, pruner in (("pam", "taylor"), ("pam", "vib"), ("hard", "taylor"))
    ]


def test_only_what_is_missing_is_planned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    wanted = cells(SETUP, ["b1", "hard"], ["taylor"], 1, store)
    todo = {job.name: job.needs for job in jobs(wanted)}
    trained = tuple(f"train {task} seed 0" for task in ("digit", "stroke3", "slant3"))
    assert [*todo] == [*trained, "b1 taylor seed 0", "pam taylor seed 0", "hard taylor seed 0"]
    assert todo["b1 taylor seed 0"] == trained
    assert todo["hard taylor seed 0"] == (*trained, "pam taylor seed 0")

    weights = store.weights(SETUP.networks, 0, "digit")
    weights.parent.mkdir(parents=True)
    weights.touch()
    store.keep(wanted[1].folder, {"row": "pam"}, None)
    todo = {job.name: job.needs for job in jobs(wanted)}
    assert [*todo] == [*trained[1:], "b1 taylor seed 0", "hard taylor seed 0"]
    assert todo["hard taylor seed 0"] == trained[1:]
    store.drop(wanted[1].folder)
    assert "pam taylor seed 0" in {job.name for job in jobs(wanted)}


def test_a_result_counts_for_what_it_depends_on_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = {
        name: store.cell(setup, ROWS[row], pruner, seed)
        for name, (setup, row, pruner, seed) in {
            "one": (SETUP, "pam", "taylor", 0),
            "seed": (SETUP, "pam", "taylor", 1),
            "pruner": (SETUP, "pam", "vib", 0),
            "row": (SETUP, "b1", "taylor", 0),
            "setup": (replace(SETUP, max_drop=2.0), "pam", "taylor", 0),
            "data": (replace(SETUP, networks=replace(SETUP.networks, sizes=Sizes(9, 9, 9))), "pam", "taylor", 0),
        }.items()
    }
    assert len({*keys.values()}) == len(keys)
    assert store.cell(SETUP, replace(ROWS["pam"], label="another"), "taylor", 0) == keys["one"]
    # Networks are kept for all setups that train them alike.
    assert store.weights(SETUP.networks, 0, "digit") == store.weights(replace(SETUP, max_drop=2.0).networks, 0, "digit")


def test_rows_that_prune_single_networks_alike_have_them_in_common(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (b1, vib), (share,) = (cells(SETUP, [row], PRUNERS, 1, store) for row in ("b1", "share"))
    (later,) = cells(replace(SETUP, max_drop=2.0), ["b1"], ["taylor"], 1, store)
    assert b1.alone == share.alone
    assert len({b1.alone, vib.alone, later.alone, replace(b1, seed=1).alone}) == 4
    store.keep(b1.folder, {"row": "b1"}, None)
    store.keep(b1.alone / "digit-1", {"seconds": 1.0}, None)
    share.forget()
    assert store.result(b1.folder) and store.result(b1.alone / "digit-1") is None


def test_a_damaged_result_is_no_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (cell,) = cells(SETUP, ["b1"], ["taylor"], 1, store)
    store.keep(cell.folder, {"row": "b1"}, None)
    assert store.result(cell.folder) == {"row": "b1"}
    (cell.folder / "result.json").write_text('{"row": ')
    assert store.result(cell.folder) is None


def test_results_are_named_after_their_budget_or_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path / "cache"))
    for budget, named in ((SETUP.max_drop, []), (10.0, []), (10.0, ["--page", "mnist-5-tight"])):
        (finished,) = cells(replace(SETUP, max_drop=budget), ["b1"], ["taylor"], 1, Store.default())
        finished.store.keep(finished.folder, missed("b1", 0), None)
        given = ["--scale", "smoke", "--rows", "b1", "--pruners", "taylor", "--max-drop", f"{budget:g}"]
        answer = CliRunner().invoke(main, ["mnist-5", *given, *named, "--out", str(tmp_path / "out")])
        assert answer.exit_code == 0 and "1 finished before; 0 jobs" in answer.output, answer.output
    found = {path.name: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    assert {name: held["setup"]["max_drop"] for name, held in found.items()} == {
        "mnist-5.json": SETUP.max_drop,
        "mnist-5-drop-10.json": 10.0,
        "mnist-5-tight.json": 10.0,
    }


@pytest.mark.parametrize("name", ["fashion-4-vib", "vib", "mnist-5-../x"])
def test_a_page_that_render_would_not_find_is_refused(name: str) -> None:
    answer = CliRunner().invoke(main, ["mnist-5", "--page", name])
    assert answer.exit_code == 2 and "begins with mnist-5-" in answer.output


def test_unknown_rows_are_refused() -> None:
    answer = CliRunner().invoke(main, ["mnist-5", "--rows", "pam,nothing"])
    assert answer.exit_code == 2 and "unknown: nothing" in answer.output


@pytest.mark.slow  # a process for every job, and each imports torch
def test_a_killed_suite_goes_on_from_there(tmp_path: Path) -> None:
    digits(Sizes(1, 1, 1), 0)
    (tmp_path / "data").symlink_to(cache_root() / "data")
    given = ["mnist-5", "--scale", "smoke", "--rows", "b1,b2-concat", "--pruners", "taylor", "--workers", "1", "--out"]
    command = [sys.executable, str(ROOT / "benchmarks" / "suites" / "paper"), *given, str(tmp_path / "out")]
    paths = {**os.environ, "PAMC_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths, start_new_session=True)
    while not (kept := [*tmp_path.glob("suites/cells/*/result.json")]):
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert len(kept) == 1 and not (tmp_path / "out").exists()
    made = kept[0].stat().st_mtime_ns

    done = subprocess.run(command, capture_output=True, text=True, env=paths, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 cells, 1 finished before; 1 jobs" in done.stdout
    assert kept[0].stat().st_mtime_ns == made
    results = json.loads((tmp_path / "out" / "mnist-5.json").read_text())
    assert results["setup"]["networks"]["data"] == "digits"
    by_row = {cell["row"]: cell for cell in results["cells"]}
    assert [*by_row] == ["b1", "b2-concat"]
    for found in by_row.values():
        assert found["accuracies"].keys() == {"digit", "stroke3", "slant3"}
        assert len(found["costs"]) == 7
        assert sum(units for owners, units in found["owners"]["fc2"].items() if "digit" in owners.split("+")) >= 1
        assert all(found["costs"][name]["macs"] < found["unpruned"][name]["macs"] for name in found["costs"])
        assert all(drop <= SETUP.max_drop for drop in found["drops"]["validation"].values())
    kept_alone = sorted(path.name for path in tmp_path.glob("suites/alone/*/*"))
    assert kept_alone == ["digit-1", "slant3-1", "stroke3-1"] and by_row["b1"]["seconds"]["alone"] > 0
    alone = {name: cost["flops"] for name, cost in by_row["b1"]["costs"].items()}
    assert alone["digit+slant3"] == alone["digit"] + alone["slant3"]
    page = (tmp_path / "out" / "mnist-5.md").read_text()
    assert "B2 concat" in page and (tmp_path / "out" / "mnist-5-taylor-cost.svg").exists()

    again = subprocess.run(command, capture_output=True, text=True, env=paths, check=False)
    assert "2 finished before; 0 jobs" in again.stdout
    assert (tmp_path / "out" / "mnist-5.md").read_text() == page
