import subprocess
import sys

import numpy as np
import pytest

import pamc
from pamc.errors import ConfigError, OutputError
from pamc.graph.interpret import evaluate
from tests.bundle.making import make_bundle
from tests.lower.nets import batch, two_task_net


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("runtime") / "kit")


@pytest.fixture
def x():
    return batch(two_task_net(), 3)


def test_any_task_set_gives_what_pytorch_gives(path, x):
    runtime = pamc.load(path)
    assert runtime.tasks == ("age", "smile")
    assert runtime.task_sets == ("age", "smile")
    expected = evaluate(two_task_net().graph, x)
    for tasks in (["age"], ["smile"], ["age", "smile"]):
        outputs = runtime.run(x, tasks=tasks)
        assert list(outputs) == tasks
        for task in tasks:
            np.testing.assert_allclose(outputs[task], expected[task], rtol=1e-4, atol=1e-5)


def test_order_and_repetition_of_tasks_do_not_matter(path, x):
    runtime = pamc.load(path)
    wanted = runtime.run(x, tasks=["age", "smile"])
    for tasks in (["smile", "age"], ["age", "smile", "age"], "smile+age", ("age", "smile"), None):
        found = runtime.run(x, tasks=tasks)
        assert list(found) == ["age", "smile"]
        for task in found:
            np.testing.assert_array_equal(found[task], wanted[task])
    assert runtime.loaded == ("age+smile",)


def test_one_sample_needs_no_batch_axis(path, x):
    runtime = pamc.load(path)
    alone, batched = runtime.run(x[0], tasks=["age"]), runtime.run(x[:1], tasks=["age"])
    assert alone["age"].shape == (4,)
    np.testing.assert_array_equal(alone["age"], batched["age"][0])


@pytest.mark.parametrize(
    "tasks, message",
    [
        (["age", "smiel"], r"(?s)unknown task 'smiel', did you mean 'smile'\?.*the bundle has: age, smile"),
        (["age+smile"], r"unknown task 'age\+smile'"),
        ([], "no task was asked for"),
        ("", "unknown task ''"),
        ([3], "unknown task '3'"),
    ],
)
def test_unknown_tasks_are_refused_with_the_known_ones(path, x, tasks, message):
    with pytest.raises(ConfigError, match=message):
        pamc.load(path).run(x, tasks=tasks)


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 12, 12), np.float32), np.zeros((12, 12), np.float32), np.zeros((1, 12, 12)), 5.0]
)
def test_a_wrong_input_is_refused_with_what_was_expected(path, wrong):
    with pytest.raises(ConfigError, match=r"expected .*\(n, 1, 12, 12\) float32"):
        pamc.load(path).run(wrong, tasks=["age"])


def test_the_last_used_sessions_are_kept(path, x):
    runtime = pamc.load(path, keep=2)
    assert runtime.loaded == ()
    first = runtime.session(["age"])
    runtime.run(x, tasks=["smile"])
    assert runtime.session(["age"]) is first
    assert runtime.loaded == ("smile", "age")
    runtime.run(x)
    assert runtime.loaded == ("age", "age+smile")
    assert runtime.session(["age"]) is first
    runtime.run(x, tasks=["smile"])
    assert runtime.loaded == ("age", "smile")


def test_bad_settings_are_refused(path, tmp_path):
    for more in ({"threads": 0}, {"keep": 0}):
        with pytest.raises(ConfigError, match="must be at least 1"):
            pamc.load(path, **more)
    with pytest.raises(ConfigError, match="no exporter for format 'onyx' is installed, did you mean 'onnx'"):
        pamc.load(path, format="onyx")
    with pytest.raises(ConfigError, match="memory is one of fast, shared, not 'small'"):
        pamc.load(path, memory="small")
    with pytest.raises(OutputError, match="this is not a bundle"):
        pamc.load(tmp_path)


def test_shared_memory_changes_no_output(path, x):
    shared, fast = pamc.load(path, memory="shared"), pamc.load(path)
    for tasks in (["age"], ["smile"], ["age", "smile"]):
        found, wanted = shared.run(x, tasks), fast.run(x, tasks)
        for task in tasks:
            np.testing.assert_allclose(found[task], wanted[task], rtol=1e-5, atol=1e-6)


def test_a_damaged_network_does_not_stop_the_emitted_task_sets(tmp_path, x):
    path = make_bundle(tmp_path / "kit")
    weights = path / "multitask.safetensors"
    weights.write_bytes(b"\xff" * weights.stat().st_size)
    runtime = pamc.load(path)
    assert set(runtime.run(x, tasks=["age"])) == {"age"}
    with pytest.raises(OutputError, match="multitask graph cannot be read"):
        runtime.run(x)


def test_emitted_task_sets_need_neither_torch_nor_onnx_nor_pydantic(path):
    code = (
        "import sys, numpy, pamc\n"
        f"pamc.load({str(path)!r}).run(numpy.zeros((1, 12, 12), numpy.float32), tasks=['age'])\n"
        "late = ('torch', 'onnx', 'pydantic', 'safetensors', 'pamc.bundle.cache', 'pamc.bundle.write')\n"
        "print([name for name in late if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
