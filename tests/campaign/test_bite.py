"""Verification finds planted faults and lets sound builds pass; `python -m tests.campaign.bite` does it 1,000 times."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from tests.campaign.bite import COMBINATIONS, LEAST_CAUGHT, Tally, main, tally
from tests.campaign.building import draw_build
from tests.campaign.choices import seeded
from tests.campaign.faults import LOWERING_FAULTS, PLAN_FAULTS
from tests.campaign.file_faults import FILE_FAULTS
from tests.campaign.planting import CHANGE, Verdict, clean_alarm, fault_names, plant

SEEDS = range(14)


@pytest.mark.parametrize("format, kind", COMBINATIONS)
def test_no_planted_fault_passes(format, kind):
    verdicts = {seed: verdict for seed in SEEDS if (verdict := plant(seed, format, kind)) is not None}
    missed = {seed: v for seed, v in verdicts.items() if v.alarm is None and v.effect > CHANGE[kind]}
    assert not missed
    assert sum(verdict.alarm is not None for verdict in verdicts.values()) >= 5


@pytest.mark.parametrize("format, kind", COMBINATIONS)
def test_no_sound_build_is_refused(format, kind):
    assert {seed: words for seed in range(100, 110) if (words := clean_alarm(seed, format, kind)) is not None} == {}


@pytest.mark.parametrize("fault", [*PLAN_FAULTS, *LOWERING_FAULTS])
def test_every_fault_changes_a_plan_and_nothing_else(fault):
    numbers = np.random.default_rng(0)
    for seed in range(60):
        build = draw_build(seeded(seed), "onnx", "float32")
        before = {name: dict(plan.graph.params) for name, plan in build.plans.items()}
        plans = {**PLAN_FAULTS, **LOWERING_FAULTS}[fault](build, numbers)
        if plans is None:
            continue
        assert list(plans) == list(build.plans)
        different = [name for name, plan in plans.items() if not _same(plan.graph, build.plans[name].graph)]
        for name, plan in build.plans.items():
            assert all(plan.graph.params[key] is array for key, array in before[name].items())
        if different:
            return
    raise AssertionError("no network that this fault changes was drawn")


def _same(one, other):
    arrays = all(np.array_equal(array, other.params[key]) for key, array in one.params.items())
    return arrays and one.nodes == other.nodes and one.outputs == other.outputs


@pytest.mark.parametrize("format", [*FILE_FAULTS])
def test_every_fault_of_files_exists(format, tmp_path):
    numbers = np.random.default_rng(0)
    left = set(FILE_FAULTS[format])
    for seed in range(30):
        build = draw_build(seeded(seed), format, "int8")
        for fault in sorted(left):
            folder = tmp_path / f"{seed}-{len(left)}-{fault[:3]}"
            build.write(folder, build.plans)
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            if FILE_FAULTS[format][fault](build, folder, numbers):
                assert {path.name: path.read_bytes() for path in folder.iterdir()} != before
                left.discard(fault)
        if not left:
            return
    raise AssertionError(f"no network for {left} was drawn")


def test_faults_without_effect_are_counted_apart_and_caught_ones_never_are():
    found = Tally("float32")
    verdict = Verdict("a bias dropped", None)
    found.add(1, verdict)
    found.add(2, replace(verdict, alarm="words"))
    found.add(3, replace(verdict, effect=1e-3))
    assert (found.planted.total(), found.caught.total(), found.idle.total()) == (2, 1, 1)
    assert [seed for seed, _ in found.missed] == [3]
    assert fault_names("onnx") != fault_names("tflite")


@pytest.mark.campaign
def test_a_thousand_faults_and_a_thousand_sound_builds():
    with pytest.raises(SystemExit) as ended:
        main([], standalone_mode=False)
    assert ended.value.code == 0


@pytest.mark.campaign
def test_a_thousand_faults_of_float32_are_caught():
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = tally(pool, "onnx", "float32", 50_000, 1000)
    assert found.caught.total() >= LEAST_CAUGHT * found.planted.total()
