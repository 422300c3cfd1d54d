"""Latency of sessions, and the words about the machine."""

import platform
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pamc_bench.environment import describe_machine
from pamc_bench.local import measure_sessions, time_sessions, to_latency
from pamc_bench.protocol import Samples

X = np.zeros((1, 1, 4, 4), np.float32)
QUICK = {"min_runs": 5, "min_seconds": 0.0, "max_seconds": 30.0}


class Sleeper:
    """A session that takes ``ms`` and tells that it ran."""

    outputs = ("a",)

    def __init__(self, ms: float, log: list[float] | None = None) -> None:
        self.ms = ms
        self.log = log

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        assert x is X
        if self.log is not None:
            self.log.append(self.ms)
        time.sleep(self.ms / 1e3)
        return {}


def test_sessions_of_a_variant_run_one_after_another() -> None:
    log: list[float] = []
    sessions = {"a+b": {"separate": [Sleeper(2.0, log), Sleeper(3.0, log)], "bundle": [Sleeper(1.0)]}}
    latency = measure_sessions(sessions, X, **QUICK)
    row = latency.sets["a+b"]
    assert 5.0 < row["separate"].p10_ms <= row["separate"].p50_ms <= row["separate"].p90_ms
    assert 1.0 < row["bundle"].p50_ms < row["separate"].p10_ms
    assert log[::2] == [2.0] * (len(log) // 2) and log[1::2] == [3.0] * (len(log) // 2)


def test_names_do_not_mix_up_and_rounds_cover_all_task_sets() -> None:
    # A task set and a variant that read the same when joined.
    sessions = {"a": {"b/c": [Sleeper(3.0)]}, "a/b": {"c": [Sleeper(0.5)]}}
    samples = time_sessions(sessions, X, **QUICK)
    assert min(samples["a"]["b/c"].ns) > 3e6 > 2e6 > min(samples["a/b"]["c"].ns)
    assert len(samples["a"]["b/c"].ns) == len(samples["a/b"]["c"].ns) >= 5


def test_timings_are_quantiles_in_milliseconds() -> None:
    ns = tuple(1_000_000 * k for k in range(101))
    timing = to_latency({"a": {"bundle": Samples(ns, (), True)}}, "here").sets["a"]["bundle"]
    assert (timing.p10_ms, timing.p50_ms, timing.p90_ms, timing.runs) == (10.0, 50.0, 90.0, 101)


def test_the_environment_is_in_words() -> None:
    text = measure_sessions({"a": {"bundle": [Sleeper(0.1)]}}, X, threads=1, **QUICK).environment
    assert f"Python {platform.python_version()}" in text and "onnxruntime 1." in text
    assert "core" in text and "governor" in text and "1 thread, interleaved" in text


def test_a_batch_or_an_empty_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of one"):
        measure_sessions({"a": {"bundle": [Sleeper(0.1)]}}, np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="no sessions for a/bundle"):
        measure_sessions({"a": {"bundle": []}}, X)


def _machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_an_x86_machine(tmp_path: Path) -> None:
    policy = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    info = "processor\t: 0\nmodel name\t: AMD  EPYC 9V74\n\nprocessor\t: 1\nmodel name\t: AMD  EPYC 9V74\n"
    files = {"proc/cpuinfo": info, policy.format(0): "powersave\n", policy.format(1): "performance\n"}
    text = describe_machine(("numpy", "no-such-package"), load=0.5, root=_machine(tmp_path, files))
    assert text.startswith("AMD EPYC 9V74, ") and "governor performance/powersave, load 0.50 before" in text
    assert f"numpy {np.__version__}, no-such-package not installed" in text


def test_a_board_and_an_unknown_machine(tmp_path: Path) -> None:
    board = _machine(tmp_path / "board", {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"})
    assert describe_machine((), root=board).startswith("Raspberry Pi 4 Model B Rev 1.4, ")
    text = describe_machine((), root=tmp_path / "nothing")
    assert "governor not readable" in text and "load" not in text
