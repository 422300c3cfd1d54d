"""The whole pipeline on real data, from model.yaml to a bundle that runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors

import pamc
from pamc.build import BuildOptions, BuildResult, build
from pamc.bundle import Bundle, Manifest, open_bundle
from pamc.bundle.plans import plans_of
from pamc.cli.build import STAGES
from pamc.cli.progress import PlainProgress
from pamc.config import load_spec
from pamc.errors import GoalMissedError
from pamc.graph import cost
from pamc.graph.interpret import evaluate
from pamc.progress import QuietProgress
from pamc.redundancy import read_redundancy
from pamc_bench.reporter import LocalReporter
from tests.builds.project import CLASSES, QUICK, Net, Project, Run, make_project, trained
from tests.builds.sample import data, nets

Array = NDArray[Any]
TASKS = ("digit", "parity", "big")
EMITTED = ("digit", "parity", "big", "digit+parity+big")
ALL_SETS = ["+".join(names) for size in (1, 2, 3) for names in combinations(TASKS, size)]
TWO = (Net("digit"), Net("parity"))
TWO_DATA = '{train: "data.py:train_without_big", eval: "data.py:evaluate_without_big"}'
NETWORKS = {*(f"onnx/{text}.onnx" for text in EMITTED), "onnx/weights.bin", "onnx/weights.json"}
VARYING = {"manifest.json", "report.html", "report.md"}


def samples(count: int = 50) -> Array:
    return data.evaluate()[0][:count]


def original(net: Net, x: Array) -> Array:
    """What a user's own network answers, without anything of pamc."""
    module = getattr(nets, net.function)(CLASSES[net.task], net.width)
    module.load_state_dict(load_tensors(trained(net)))
    with torch.no_grad():
        answers: Array = module.eval()(torch.from_numpy(x)).numpy()
    return answers


def relative(mine: Array, wanted: Array) -> float:
    assert mine.shape == wanted.shape
    return float(np.abs(mine - wanted).max() / np.abs(wanted).max())


def accuracy(answers: Array, labels: Array) -> float:
    return 100 * float(np.mean(answers.argmax(axis=1) == labels))


def artefacts(bundle: Path) -> dict[str, bytes]:
    """What must not depend on time, place or luck."""
    files = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in VARYING}


def made(result: BuildResult) -> tuple[Bundle, Manifest]:
    assert result.path is not None and result.manifest is not None
    return open_bundle(result.path), result.manifest


def agrees_with_torch(bundle: Bundle, sets: list[str]) -> None:
    runtime, x = pamc.load(bundle.path), samples()
    reference = {task: output.numpy() for task, output in evaluate(bundle.net.graph, x).items()}
    for text in sets:
        outputs = runtime.run(x, tasks=text.split("+"))
        assert list(outputs) == text.split("+")
        for task, answers in outputs.items():
            assert relative(answers, reference[task]) < 1e-4, (text, task)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Run]]:
    """A project that was built by the command line; some task sets are not emitted."""
    sets = f"[{', '.join(EMITTED)}]"
    project = make_project(tmp_path_factory.mktemp("command") / "kit", task_sets=sets, baseline=None)
    yield project, project.pamc("build", "model.yaml", "--target", "x86_64", "--no-latency", "--json")


@pytest.fixture(scope="module")
def kit(command: tuple[Project, Run]) -> Bundle:
    assert command[1].code == 0, command[1].err
    return open_bundle(command[0].out)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    return lambda *tasks, **changes: make_project(tmp_path / "kit", tasks or TWO, **{"data": TWO_DATA, **changes})


def test_the_result_is_on_stdout_and_the_progress_on_stderr(command: tuple[Project, Run], kit: Bundle) -> None:
    run = command[1]
    assert json.loads(run.out) == json.loads((kit.path / "manifest.json").read_text())
    for stage in ("capture", "merge (pam)", "prune (taylor)", "prune big alone", "verify (onnx)"):
        assert f"{stage}: done in" in run.err
    assert "Warning" not in run.err


def test_the_bundle_is_complete_and_its_hashes_are_right(command: tuple[Project, Run], kit: Bundle) -> None:
    on_disk = {path.relative_to(kit.path).as_posix() for path in kit.path.rglob("*") if path.is_file()}
    assert on_disk == {*kit.manifest.files, "manifest.json"}
    network = {"config.yaml", "costs.yaml", "multitask.json", "multitask.safetensors", "numerics.json"}
    assert on_disk == NETWORKS | network | {"redundancy.json", "vectors.safetensors"} | VARYING
    kit.check_hashes()
    assert (kit.path / "config.yaml").read_bytes() == (command[0].root / "model.yaml").read_bytes()
    assert [path.name for path in command[0].out.parent.iterdir()] == ["kit"]


def test_the_analysis_of_redundancy_is_of_the_network_in_the_bundle(kit: Bundle) -> None:
    found = read_redundancy(kit)
    assert {text: gain.now for text, gain in found.gains.items()} == {
        text: entry.macs.bundle for text, entry in kit.manifest.task_sets.items()
    }
    assert {layer.space: {group.owners: group.units for group in layer.groups} for layer in found.layers} == (
        kit.manifest.owners
    )
    assert "redundancy" in kit.manifest.stage_seconds


def test_the_reports_name_every_task_set(kit: Bundle) -> None:
    for name in ("report.html", "report.md"):
        text = (kit.path / name).read_text()
        assert all(task_set in text for task_set in ALL_SETS), name


def test_the_bundle_does_not_hold_the_paths_of_the_machine_that_built_it(
    command: tuple[Project, Run], kit: Bundle
) -> None:
    for name in [*artefacts(kit.path), "manifest.json"]:
        assert str(command[0].root).encode() not in (kit.path / name).read_bytes(), name
    assert {node.origin.location.partition(":")[0] for node in kit.net.graph.nodes} == {"", "nets.py"}


def test_every_task_set_runs_and_equals_torch(kit: Bundle) -> None:
    assert pamc.load(kit.path).task_sets == EMITTED
    assert list(kit.manifest.task_sets) == ALL_SETS
    agrees_with_torch(kit, ALL_SETS)


def test_verification_covered_every_output_of_every_task_set(kit: Bundle) -> None:
    assert {(check.task_set, check.output) for check in kit.manifest.verification} == {
        (text, task) for text in ALL_SETS for task in text.split("+")
    }
    assert all(check.max_rel < 1e-4 and check.samples > 8 for check in kit.manifest.verification)


def test_the_golden_vectors_are_what_the_bundle_answers(kit: Bundle) -> None:
    vectors = kit.vectors
    outputs = pamc.load(kit.path).run(vectors["input"])
    for task, answers in outputs.items():
        assert relative(answers, vectors[f"output:{task}"]) < 1e-4


def test_the_costs_of_the_manifest_are_those_of_the_networks(command: tuple[Project, Run], kit: Bundle) -> None:
    alone = {task: sum(tensor.numel() for tensor in load_tensors(trained(Net(task))).values()) for task in TASKS}
    for text, entry in kit.manifest.task_sets.items():
        amount = cost(kit.net, kit.net.task_set(text.split("+")))
        assert (entry.macs.bundle, entry.params.bundle) == (amount.macs, amount.params)
        assert entry.params.separate == sum(alone[task] for task in text.split("+"))
        assert entry.macs.pruned_separately is not None
        assert 0 < entry.macs.pruned_separately < entry.macs.separate
    everyone = kit.manifest.task_sets[ALL_SETS[-1]].macs
    assert everyone.bundle <= 0.6 * everyone.separate * 1.001


def test_the_scores_of_the_manifest_can_be_measured_again(kit: Bundle) -> None:
    x, labels = data.evaluate()
    outputs = pamc.load(kit.path).run(x)
    for task in TASKS:
        scores = kit.manifest.task_sets[task].scores[task]
        # A single sample on the edge between two classes may go either way.
        assert scores.bundle == pytest.approx(accuracy(outputs[task], labels[task]), abs=0.25)
        assert scores.separate == pytest.approx(accuracy(original(Net(task), x), labels[task]), abs=0.25)
        assert scores.pruned_separately is not None


def test_another_process_place_and_cache_give_the_same_bytes(kit: Bundle, tmp_path: Path) -> None:
    elsewhere = make_project(tmp_path / "elsewhere", task_sets=f"[{', '.join(EMITTED)}]", baseline=None)
    twin, _ = made(elsewhere.build(tmp_path / "twin"))
    assert artefacts(twin.path) == artefacts(kit.path)


def test_a_dataset_gives_the_same_networks_as_arrays(kit: Bundle, tmp_path: Path) -> None:
    functions = '{train: "data.py:train_dataset", eval: "data.py:evaluate_dataset"}'
    project = make_project(tmp_path / "kit", data=functions, task_sets=f"[{', '.join(EMITTED)}]")
    twin, _ = made(project.build())
    mine, wanted = artefacts(twin.path), artefacts(kit.path)
    del mine["config.yaml"], wanted["config.yaml"]
    assert mine == wanted


def test_a_second_build_is_served_from_the_cache(command: tuple[Project, Run], kit: Bundle, tmp_path: Path) -> None:
    project = command[0]
    run = project.pamc("build", "model.yaml", "--target", "x86_64", "--no-latency", "--out", tmp_path / "again")
    assert run.code == 0, run.err
    again = open_bundle(tmp_path / "again")
    never = ("redundancy", "export", "verify", "latency")
    cached = [name for name in again.manifest.stage_seconds if not name.startswith(never)]
    assert len(cached) == 6 and not any(again.manifest.stage_seconds[name] for name in cached)
    for name in cached:
        assert [line for line in run.err.splitlines() if line.startswith(name)] == [f"{name}: cached"]
    assert artefacts(again.path) == artefacts(kit.path)
    assert "the bundle" in run.out and all(text in run.out for text in ALL_SETS)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cache_that_cannot_be_written_is_mentioned_once(
    project: Callable[..., Project], tmp_path: Path, jobs: int
) -> None:
    (tmp_path / "file").touch()
    said, mine = StringIO(), project(baseline=None)
    bundle, _ = made(mine.build(cache_dir=tmp_path / "file" / "cache", progress=PlainProgress(said), jobs=jobs))
    assert bundle.manifest.stage_seconds["prune (taylor)"] > 0
    assert said.getvalue().count("cannot be written; the next build starts anew") == 1


def test_a_bundle_is_built_over_an_older_one(project: Callable[..., Project]) -> None:
    mine = project()
    older, _ = made(mine.build())
    mine.replace("model.yaml", "macs: 0.6", "macs: 0.9")
    newer, _ = made(mine.build())
    assert newer.path == older.path and newer.manifest != older.manifest
    assert [path.name for path in newer.path.parent.iterdir()] == ["kit"]


def test_code_imported_from_below_the_network_is_part_of_the_cache_key(project: Callable[..., Project]) -> None:
    mine = project()
    (mine.root / "parts").mkdir()
    (mine.root / "parts" / "__init__.py").touch()
    (mine.root / "parts" / "blocks.py").write_text("from torch.nn.functional import relu as act\n")
    mine.replace("nets.py", "import functional as F", "import functional as F\nfrom parts import blocks")
    mine.replace("nets.py", "F.relu(self.hidden(", "blocks.act(self.hidden(")
    mine.build(stop_after="capture")
    (mine.root / "parts" / "blocks.py").write_text("from torch.nn.functional import hardswish as act\n")
    after = mine.pamc("build", "model.yaml", "--stop-after", "capture")
    assert after.code == 0 and "hardswish" in after.out, after.err


def test_nothing_merged_and_nothing_pruned_reproduces_every_network(tmp_path: Path) -> None:
    project = make_project(tmp_path / "kit", merge="{method: separate}", prune="{method: none}", train=None)
    bundle, manifest = made(project.build())
    x = samples(200)
    for text in ALL_SETS:
        outputs = pamc.load(bundle.path).run(x, tasks=text.split("+"))
        for task, answers in outputs.items():
            assert relative(answers, original(Net(task), x)) < 1e-5
        entry = manifest.task_sets[text]
        assert entry.macs.bundle == entry.macs.separate
        assert entry.params.bundle == entry.params.separate


def test_fold_bytes_keep_weights_from_being_held_more_than_once(tmp_path: Path) -> None:
    sizes, folds = {}, {}
    for fold_bytes in (0, 1 << 20):
        project = make_project(
            tmp_path / str(fold_bytes),
            merge="{method: separate}",
            prune="{method: none}",
            train=None,
            fold_bytes=str(fold_bytes),
        )
        bundle, manifest = made(project.build())
        assert manifest.fold_bytes == fold_bytes
        sizes[fold_bytes] = manifest.files["onnx/weights.bin"].bytes
        folds[fold_bytes] = [plan.folds for plan in plans_of(bundle).values() if plan.folds]
    assert not folds[0] and folds[1 << 20]
    assert sizes[0] < sizes[1 << 20] < 1.2 * (1 << 20)


def test_networks_of_different_widths_and_heads(tmp_path: Path) -> None:
    tasks = (Net("digit", 8), Net("parity", 6), Net("big", 10, "deep"))
    bundle, manifest = made(make_project(tmp_path / "kit", tasks).build())
    agrees_with_torch(bundle, ALL_SETS)
    assert len({manifest.task_sets[task].params.separate for task in TASKS}) == 3


def test_a_task_without_labels_learns_from_its_network_alone(tmp_path: Path) -> None:
    project = make_project(tmp_path / "kit", data=TWO_DATA)
    bundle, manifest = made(project.build())
    scores = manifest.task_sets["big"].scores["big"]
    # Without labels the truth is what the original network says.
    assert scores.separate == 100.0
    x = data.evaluate()[0]
    agreement = accuracy(pamc.load(bundle.path).run(x, tasks=["big"])["big"], original(Net("big"), x).argmax(axis=1))
    assert scores.bundle == pytest.approx(agreement, abs=0.25)
    assert agreement > 60


def test_a_regression_task(tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "kit",
        (Net("digit"), Net("ink")),
        metrics={"ink": "mae"},
        data='{train: "data.py:train_ink", eval: "data.py:evaluate_ink"}',
        prune=f"{{method: taylor, budget: {{expected_macs: 0.6}}, options: {QUICK}}}",
    )
    bundle, manifest = made(project.build())
    x, labels = data.evaluate_ink()
    scores = manifest.task_sets["ink"].scores["ink"]
    errors = {
        scores.bundle: pamc.load(bundle.path).run(x, tasks=["ink"])["ink"],
        scores.separate: original(Net("ink"), x),
    }
    for reported, answers in errors.items():
        assert reported == pytest.approx(float(np.abs(answers - labels["ink"]).mean()), rel=1e-4)
    assert scores.bundle < float(np.abs(labels["ink"] - labels["ink"].mean()).mean())


def test_the_workload_decides_what_is_saved(project: Callable[..., Project]) -> None:
    budget = f"{{method: taylor, budget: {{expected_macs: 0.6}}, options: {QUICK}}}"
    mine = project(workload="{digit: 1.0}", prune=budget)
    bundle, manifest = made(mine.build())
    assert manifest.workload == {"digit": 1.0}
    assert manifest.task_sets["digit"].macs.bundle <= 0.6 * manifest.task_sets["digit"].macs.separate * 1.001
    agrees_with_torch(bundle, ["digit", "parity", "digit+parity"])


def test_an_accuracy_budget_holds_on_the_evaluation_and_the_validation_data(project: Callable[..., Project]) -> None:
    functions = TWO_DATA.replace("}", ', validation: "data.py:validation_without_big"}')
    options = QUICK.replace("recover: 4", "recover: 20").replace("warmup: 0.3", "warmup: 2")
    mine = project(
        data=functions,
        merge="{method: separate}",
        prune=f"{{method: taylor, budget: {{max_drop: 4}}, options: {options}}}",
        train="{epochs: 4, batch_size: 64, learning_rate: 3e-3}",
    )
    bundle, manifest = made(mine.build())
    for which in (data.VALIDATION, data.HELD_OUT):
        x, labels = data.part(which)
        for task, answers in pamc.load(bundle.path).run(x).items():
            lost = accuracy(original(Net(task), x), labels[task]) - accuracy(answers, labels[task])
            assert lost <= 4.001 + 100 / len(x), (task, lost)
    both = manifest.task_sets["digit+parity"].macs
    assert both.bundle < 0.9 * both.separate
    assert [entry.max_drop for entry in manifest.tasks] == [4, 4]


def test_by_default_networks_are_merged_after_pruning(project: Callable[..., Project]) -> None:
    short = QUICK.replace("}", ", restarts: 2, share_recover: 4, trials: 1, trial_recover: 2}")
    mine = project(
        merge=None,
        prune=f"{{budget: {{max_drop: 25}}, options: {short}}}",
        train="{learning_rate: 3e-3}",
        baseline=None,
    )
    bundle, manifest = made(mine.build())
    assert (manifest.merge.method, manifest.prune.method) == ("separate", "share")
    for text, entry in manifest.task_sets.items():
        alone = entry.macs.pruned_separately
        assert alone is not None and entry.macs.bundle <= alone < 0.5 * entry.macs.separate, text
    agrees_with_torch(bundle, ["digit", "parity", "digit+parity"])
    anew = ("build", "model.yaml", "--target", "x86_64", "--no-latency", "--out", "anew", "--jobs", "2")
    first = mine.pamc(*anew, "--cache-dir", "anew.cache")
    assert first.code == 0, first.err
    assert artefacts(mine.root / "anew") == artefacts(bundle.path)
    alone = ["prune digit alone", "prune parity alone"]
    titles = [*alone, *(f"{title}, 50% of its budget" for title in alone), "a layer in common"]
    assert all(f"\n{title}: done\n" in first.err for title in titles)
    assert all(f"\n{title}: step 1: " in first.err for title in alone)
    seconds = open_bundle(mine.root / "anew").manifest.stage_seconds
    assert all(seconds[title] > 0 for title in [*alone, "prune (share)"])
    # What only has to be read starts no process.
    again = mine.pamc(*anew, "--cache-dir", "anew.cache")
    assert again.code == 0 and "prune (share): cached" in again.err and ": done\n" not in again.err


def test_networks_that_train_on_the_whole_machine_are_searched_in_turn(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr("pamc.searches.takes_the_machine", lambda work: asked.append(work) or True)
    said = StringIO()
    _, manifest = made(project(baseline=None).build(jobs=2, progress=PlainProgress(said)))
    assert asked == [64 * manifest.task_sets["digit+parity"].macs.separate]
    assert "\nprune digit alone\n" in said.getvalue() and ": done\n" not in said.getvalue()


def test_a_goal_that_cannot_be_reached_leaves_nothing(project: Callable[..., Project]) -> None:
    mine = project()
    mine.replace("model.yaml", "macs: 0.6", "macs: 0.001")
    before = mine.files()
    with pytest.raises(GoalMissedError, match="pruning stopped at"):
        mine.build()
    assert mine.files() == before


def test_latency_is_measured_for_every_emitted_set_and_variant(project: Callable[..., Project]) -> None:
    mine = project(baseline=None)
    options = BuildOptions(mine.out, target="x86_64", cache_dir=mine.cache)
    spec = load_spec(mine.root / "model.yaml")
    _, manifest = made(build(spec, options, QuietProgress(), LocalReporter(max_seconds=0.5)))
    assert manifest.latency is not None
    assert set(manifest.latency.sets) == {"digit", "parity", "digit+parity"}
    for timings in manifest.latency.sets.values():
        assert set(timings) == {"separate", "pruned_separately", "bundle"}
        assert all(0 < timing.p10_ms <= timing.p50_ms <= timing.p90_ms for timing in timings.values())


@pytest.mark.parametrize("stage", STAGES)
def test_stopping_after_a_stage_shows_it_and_writes_no_bundle(
    command: tuple[Project, Run], stage: str, tmp_path: Path
) -> None:
    result = command[0].build(tmp_path / "deep" / "out", stop_after=stage)
    assert (result.path, result.manifest) == (None, None)
    assert result.view is not None and result.view.text.startswith(f"after {stage}:\n")
    shown = json.loads(json.dumps(result.view.data))
    assert shown["stage"] == stage
    if stage == "lower":
        assert [plan["task_set"] for plan in shown["plans"]] == ALL_SETS
    elif stage == "export":
        assert set(shown["files"]) == NETWORKS
    else:
        assert list(shown["task_sets"]) == ALL_SETS
    assert list(tmp_path.iterdir()) == []


def test_stages_get_cheaper_or_stay(command: tuple[Project, Run]) -> None:
    macs = {}
    for stage in ("capture", "merge", "prune"):
        view = command[0].build(stop_after=stage).view
        assert view is not None
        macs[stage] = [entry["macs"] for entry in view.data["task_sets"].values()]
    assert sum(macs["prune"]) < sum(macs["merge"])
    assert sum(macs["prune"]) < sum(macs["capture"])


def test_a_dry_run_tells_the_plan_and_writes_nothing(project: Callable[..., Project]) -> None:
    mine = project()
    before = mine.files()
    run = mine.pamc("build", "model.yaml", "--dry-run", "--json", "--out", "some/where/else")
    assert run.code == 0, run.err
    shown = json.loads(run.out)
    assert (shown["merge"], shown["prune"], shown["budget"]) == ("pam", "taylor", {"macs": 0.6})
    assert shown["out"] == "some/where/else"
    assert shown["task_sets"]["digit+parity"]["macs"] == sum(shown["task_sets"][t]["macs"] for t in ("digit", "parity"))
    assert mine.files() == before and not mine.cache.exists()
    text = mine.build(dry_run=True).view
    assert text is not None and "prune by taylor to macs 0.6" in text.text
    assert mine.files() == before and not mine.cache.exists()
