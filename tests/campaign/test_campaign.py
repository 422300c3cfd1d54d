"""The campaign, small: 300 cases; `make campaign` runs 10,000. See docs/trust.md."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings

from pamc.graph.ops import ACTIVATIONS, OPS
from tests.campaign.__main__ import main
from tests.campaign.cases import draw_case
from tests.campaign.choices import Choices, choices, replay, seeded, shrink
from tests.campaign.comparing import Outcome, try_case
from tests.campaign.drawing import draw_network
from tests.campaign.judging import Answer
from tests.campaign.ledger import bury, finished, summary

SHARES = 9
PER_SHARE = 30


@pytest.mark.parametrize("share", range(SHARES))
def test_every_backend_agrees_on_every_task_set(share):
    numbers = range(share * PER_SHARE, (share + 1) * PER_SHARE)
    failed = {number: outcome.failures for number in numbers if (outcome := try_case(seeded(number))).failures}
    assert not failed, "; ".join(f"python -m tests.campaign --case {number}: {failed[number][0]}" for number in failed)


@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
@given(choices())
def test_every_backend_agrees_on_what_hypothesis_draws(drawn):
    assert try_case(drawn).failures == []


def test_the_networks_have_every_operation_and_every_pattern_of_owners():
    nets = [draw_network(seeded(number)) for number in range(SHARES * PER_SHARE)]
    kinds = {node.op.kind for net in nets for node in net.graph.nodes}
    assert kinds == set(OPS)
    functions = {getattr(node.op, "function", None) for net in nets for node in net.graph.nodes}
    assert functions >= ACTIVATIONS
    assert {len(net.tasks) for net in nets} == {1, 2, 3, 4}
    assert {net.graph.input.op.dtype for net in nets} == {"float32", "uint8"}
    of_four = [net for net in nets if len(net.tasks) == 4]
    assert {int(mask) for net in of_four for owners in net.owners.values() for mask in owners} == set(range(16))
    sizes = {size for net in nets for size in net.spaces.sizes.values()}
    assert {1, 64} <= sizes


def test_a_case_is_the_same_from_its_number_and_from_its_decisions():
    drawn = seeded(11)
    net = draw_network(drawn)
    again = draw_network(replay(drawn.made))
    assert [node.op for node in net.graph.nodes] == [node.op for node in again.graph.nodes]
    for name, array in net.graph.params.items():
        np.testing.assert_array_equal(array, again.graph.params[name])
    for space, owners in net.owners.items():
        np.testing.assert_array_equal(owners, again.owners[space])


def test_shrinking_finds_a_small_network_that_still_fails():
    def fails(drawn: Choices) -> bool:
        return any(node.op.kind == "max_pool" for node in draw_network(drawn).graph.nodes)

    drawn = next(drawn for drawn in map(seeded, range(100)) if fails(drawn))
    small = replay(shrink(drawn.made, fails))
    nodes = draw_network(small).graph.nodes
    assert [node.op.kind for node in nodes if node.op.kind == "max_pool"] == ["max_pool"]
    assert len(nodes) <= 8
    assert len(small.made) < len(drawn.made) / 2


def test_errors_are_never_lost():
    answer = Answer(np.array([[0.0, -4.0]]), 2.0)
    assert answer.error(np.array([[1.0, -4.0]])) == 0.5
    assert answer.error(np.array([[np.nan, -4.0]])) == np.inf
    assert answer.error(np.array([[0.0]])) == np.inf


def test_a_process_that_dies_costs_one_case(tmp_path):
    path = tmp_path / "worker-0.jsonl"
    path.write_text(json.dumps({"case": 5, "failures": []}) + "\n" + json.dumps({"started": 6}) + "\n" + '{"cas')
    assert bury(path, -11)
    assert finished(tmp_path)[6]["failures"] == ["the process died with exit status -11"]
    assert set(finished(tmp_path)) == {5, 6}
    assert not bury(path, 1)


def test_the_summary_names_failures_and_what_was_not_run():
    good = Outcome("float32", 2, 3, ["conv"], {"torch": 1e-7})
    bad = Outcome("float32", 2, 3, ["conv"], {"torch": 0.5}, ["torch, float32: wrong"])
    text = summary({0: vars(good), 7: vars(bad)}, 3)
    assert "cases: 2 of 3, 1 failed" in text
    assert "python -m tests.campaign --case 7\n  torch, float32: wrong" in text
    assert "softmax" in next(line for line in text.splitlines() if line.startswith("operations that no case has"))
    assert "0.5" in next(line for line in text.splitlines() if line.startswith("torch"))


def test_a_case_is_described_as_it_runs():
    result = CliRunner().invoke(main, ["--case", "11"])
    assert result.exit_code == 0
    assert result.output.startswith(draw_case(seeded(11)).describe() + "\n")


@pytest.mark.slow  # two processes that each import the runtimes
def test_the_command_runs_resumes_and_fails_with_its_cases(tmp_path):
    arguments = ["--cases", "4", "--jobs", "2", "--folder", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "cases: 4 of 4, 0 failed" in result.output
    path = tmp_path / "seed-0" / "worker-0.jsonl"
    before = path.read_text()
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert path.read_text() == before
    path.write_text(before.replace('"failures": []', '"failures": ["x"]', 1))
    assert CliRunner().invoke(main, arguments).exit_code == 1
