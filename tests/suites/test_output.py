"""Where suites write, and the commands that they tell."""

import sys
from pathlib import Path

import pytest

from benchmarks.suites.output import results_file, spelled


def test_results_of_a_smoke_run_stay_out_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert results_file("one", "small", None) == Path("docs/benchmarks/one.json")
    assert results_file("one", "smoke", None) == Path("build/benchmarks/one.json")
    assert results_file("one", "smoke", Path("a/b")) == Path("a/b/one.json")
    assert all((tmp_path / folder).is_dir() for folder in ("docs/benchmarks", "build/benchmarks", "a/b"))


def test_the_command_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cli.py", "mnist-5", "--out", "a b"])
    assert spelled("paper") == "python benchmarks/suites/paper mnist-5 --out 'a b'"
