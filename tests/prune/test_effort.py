"""Efforts: defaults for the options of every pruner, which options that are given go before."""

from __future__ import annotations

import pytest

from pamc.errors import ConfigError
from pamc.graph import expected_macs
from pamc.prune import METHODS
from pamc.prune.effort import search_options
from pamc.prune.iterative import prune_iteratively
from pamc.prune.search import Schedule
from tests.prune.nets import separate
from tests.prune.test_search import Memory, drop_units, problem


@pytest.mark.parametrize("method", METHODS.names())
def test_every_pruner_takes_every_effort_and_normal_is_its_own_defaults(method: str) -> None:
    assert search_options(method, "normal", {}) == METHODS.parse_options(method, {})
    if method != "none":
        quick, thorough = (search_options(method, effort, {}) for effort in ("quick", "thorough"))
        assert quick.recover < search_options(method, "normal", {}).recover < thorough.recover


def test_options_that_are_given_go_before_the_effort() -> None:
    found = search_options("share", "quick", {"halvings": 3, "share_recover": 7})
    assert (found.halvings, found.share_recover, found.detours) == (3, 7, 0)
    with pytest.raises(ConfigError, match="halvins"):
        search_options("share", "quick", {"halvins": 3})


def test_more_effort_takes_more_steps_and_finds_no_larger_network() -> None:
    net = separate()
    whole = expected_macs(net, {7: 1.0})
    steps, found = [], []
    for effort in ("quick", "normal", "thorough"):
        memory = Memory()
        options: Schedule = search_options("taylor", effort, {"recover": 1, "warmup": 0, "epochs": 0, "slack": 5.0})
        small = prune_iteratively(net, problem(0.5 * whole, net, checkpoints=memory), options, drop_units)
        steps.append(len(memory.puts))
        found.append(expected_macs(small, {7: 1.0}))
    assert steps == sorted(set(steps))
    assert found == sorted(found, reverse=True)
