"""Sessions that share their weights: what they compute, and the memory that they take."""

import gc
import subprocess
import sys

import numpy as np
import pytest

from pamc.errors import OutputError
from pamc.graph import all_task_sets
from pamc.graph.ops import Flatten, GlobalAvgPool, MaxPool
from pamc.lower import Numerics, load_target, lower
from pamc_exporters.onnx import exporter, sharing
from tests.lower.nets import TASKS, Sketch, batch, three_task_net

MEASURE = """
import sys
from pathlib import Path
import numpy, onnx, onnxruntime
from pamc_exporters.onnx import exporter

def resident():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

x = numpy.ones((1, 3, 16, 16), numpy.float32)
before, held = resident(), []
for task_set in sys.argv[2:]:
    held.append(exporter.sharing_memory().open(Path(sys.argv[1]), task_set))
    held[-1].run(x)
print(resident() - before)
"""


def plans_of(net, numerics=None):
    found = lower(net, list(all_task_sets(len(net.tasks))), load_target("x86_64"), numerics or Numerics())
    return {plan.task_set: plan for plan in found.values()}


def large_net():
    """26 MB of weights, in convolutions, whose kernels would each copy them into a layout of their own."""
    sketch = Sketch((3, 16, 16), seed=3)
    for units in (224, 896, 896, 896):
        sketch.act(sketch.conv(sketch.last, units))
        if sketch.shape(sketch.last)[1] > 4:
            sketch.plain("pool", MaxPool((2, 2), (2, 2)), sketch.last)
    pooled = sketch.plain("flat", Flatten(), sketch.plain("gap", GlobalAvgPool(), sketch.last))
    outputs = {task: sketch.linear(pooled, 10) for task in TASKS}
    return sketch.finish(outputs, lambda _, units: np.arange(units, dtype=np.uint32) % 7 + 1)


def test_all_task_sets_open_at_once_take_hardly_more_memory_than_the_largest(tmp_path):
    plans = plans_of(large_net())
    exporter.write(plans, tmp_path, {})
    weights = (tmp_path / "weights.bin").stat().st_size
    assert weights > 20_000_000

    def resident(*task_sets):
        command = [sys.executable, "-c", MEASURE, str(tmp_path), *task_sets]
        return 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    alone = resident("age+smile+pose")
    assert alone > weights
    assert resident(*plans) <= 1.25 * alone


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_shared_weights_compute_the_same(kind, tmp_path):
    net = three_task_net(48)
    plans = plans_of(net, Numerics(kind))
    exporter.write({text: plans[text] for text in ("age", "age+smile")}, tmp_path, {})
    x, shared = batch(net, 3), exporter.sharing_memory()
    for task_set in ("age", "age+smile"):
        wanted = exporter.open(tmp_path, task_set).run(x)
        for task, found in shared.open(tmp_path, task_set).run(x).items():
            np.testing.assert_allclose(found, wanted[task], rtol=1e-5, atol=1e-6)
    wanted = exporter.compose(plans["smile"], tmp_path).run(x)["smile"]
    np.testing.assert_allclose(shared.compose(plans["smile"], tmp_path).run(x)["smile"], wanted, rtol=1e-5, atol=1e-6)


def test_sessions_hold_one_map_as_long_as_they_live(tmp_path):
    exporter.write(plans_of(three_task_net(48)), tmp_path, {})
    shared = exporter.sharing_memory()
    gc.collect()
    before = len(sharing._FILES)
    sessions = [shared.open(tmp_path, task_set) for task_set in ("age", "smile", "age+smile")]
    assert len(sharing._FILES) == before + 1
    del sessions
    gc.collect()
    assert len(sharing._FILES) == before


def test_weights_written_anew_are_read_anew(tmp_path):
    net = three_task_net(48)
    plans, x, shared = plans_of(net), batch(net, 2), exporter.sharing_memory()
    exporter.write({"age": plans["age"]}, tmp_path, {})
    old = shared.open(tmp_path, "age")
    before = old.run(x)["age"]
    changed = plans_of(net.with_params({key: array / 2 for key, array in net.graph.params.items()}))["age"]
    exporter.write({"age": changed}, tmp_path, {})
    np.testing.assert_array_equal(old.run(x)["age"], before)
    wanted = exporter.open(tmp_path, "age").run(x)["age"]
    np.testing.assert_allclose(shared.open(tmp_path, "age").run(x)["age"], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damage", ["none", "short"])
def test_damaged_weights_are_refused(tmp_path, damage):
    exporter.write(plans_of(three_task_net(48)), tmp_path, {})
    weights = tmp_path / "weights.bin"
    content = weights.read_bytes()
    weights.unlink()
    if damage == "short":
        weights.write_bytes(content[:1000])
    with pytest.raises(OutputError):
        exporter.sharing_memory().open(tmp_path, "age")
