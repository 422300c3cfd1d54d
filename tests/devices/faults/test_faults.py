"""A slice of `make device-faults`: every scenario once, on one of the two boards."""

from __future__ import annotations

import pytest

from tests.devices.faults.campaign import SCENARIOS, describe, run_one
from tests.devices.faults.scene import World


def test_every_scenario_meets_both_boards() -> None:
    met = {(scenario, kind) for scenario, kind in map(describe, range(2 * len(SCENARIOS)))}
    assert len(met) == 2 * len(SCENARIOS)


@pytest.mark.slow  # some seconds each on an idle machine: every command on a board starts processes under emulation
@pytest.mark.parametrize("number", range(len(SCENARIOS)), ids=lambda number: describe(number)[0].__name__)
def test_a_fault_ends_in_a_typed_error_or_a_recovered_run(world: World, number: int) -> None:
    run_one(world, number, seed=0)
