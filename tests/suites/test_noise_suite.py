"""The suite that counts how often comparisons are right: its networks, its trials, its rates."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats as reference

from benchmarks.suites.noise import cli
from benchmarks.suites.noise.campaign import PLANTED, SAME, Trial, bound, campaign, summary
from benchmarks.suites.noise.nets import TASK, chain_bundle
from pamc.export import find_exporter


def trial(kind: str, change: float, noise: float, seed: int, rounds: int = 40) -> Trial:
    generator = np.random.default_rng(seed)
    before = np.exp(generator.normal(0, 0.05, size=rounds))
    after = before * (1 + change) * np.exp(generator.normal(0, noise, size=rounds))
    return Trial(kind, tuple(before.tolist()), tuple(after.tolist()), 1.0)


def test_the_planted_network_has_five_percent_more_work(tmp_path: Path) -> None:
    macs = [chain_bundle(tmp_path / str(n), n).manifest.task_sets[TASK].macs.bundle for n in (20, 21)]
    assert macs[1] / macs[0] == 1.05


def test_a_chain_answers_its_golden_vectors_in_both_formats(tmp_path: Path) -> None:
    bundle = chain_bundle(tmp_path / "chain", 2, ("onnx", "tflite"))
    for form in bundle.formats:
        found = find_exporter(form).open(bundle.directory(form), TASK).run(bundle.vectors["input"])
        wanted = bundle.vectors[f"output:{TASK}"]
        assert found[TASK].shape == wanted.shape and np.abs(found[TASK] - wanted).max() < 1e-5


def test_what_a_trial_is_called() -> None:
    slower, faster, same = trial(PLANTED, 0.06, 0.01, 0), trial(SAME, -0.06, 0.01, 1), trial(SAME, 0.0, 0.01, 2)
    assert slower.called_slower and slower.called_different and slower.significant
    assert not faster.called_slower and faster.called_different and faster.significant
    assert not same.called_slower and not same.called_different


def test_rates_are_counted_with_their_exact_intervals() -> None:
    trials = [trial(SAME, 0.0, 0.01, seed) for seed in range(8)]
    trials += [trial(SAME, 0.08, 0.01, 100), *(trial(PLANTED, 0.06, 0.01, 200 + seed) for seed in range(3))]
    found = summary(trials)
    assert found["same called different"] == {"hits": 1, "trials": 9, "interval": bound(1, 9)}
    assert found["planted found"] == {"hits": 3, "trials": 3, "interval": bound(3, 3)}
    low, high = bound(1, 9)
    assert reference.binom.sf(0, 9, low) == pytest.approx(0.025) == reference.binom.cdf(1, 9, high)


class _Recorder:
    """Stands where a station would be asked; the kinds of trials are what is looked at."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def block(self, key, protocol, round, seconds):  # type: ignore[no-untyped-def]
        from tests.bench.results import block

        self.keys.append(key.bundle)
        return block(round, 1e6)


def test_planted_trials_are_spread_over_the_others() -> None:
    station = _Recorder()
    short = replace(cli.COMPARING, blocks=1, max_blocks=1, precision=None)
    kinds = [item.kind for item in campaign(station, short, 4, 2, 0)]  # type: ignore[arg-type]
    assert kinds.count(PLANTED) == 2 and kinds.count(SAME) == 4
    assert kinds[:3].count(PLANTED) == 1 == kinds[3:].count(PLANTED)
    assert set(station.keys) == {"before", SAME, PLANTED}


def test_a_small_campaign_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(cli, "COMPARING", replace(cli.COMPARING, blocks=6, max_blocks=6))
    out = tmp_path / "noise.json"
    done = CliRunner().invoke(cli.main, ["--pairs", "1", "--planted", "1", "--json", str(out)])
    # Six rounds decide nothing on a busy machine: 1 says that the planted slow-down was not found.
    assert done.exit_code in (0, 1), done.output
    assert done.output.count(" 6 rounds") == 2 and '"planted found"' in done.output
    assert out.is_file()
