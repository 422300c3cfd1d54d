"""Whether a device is in a state in which times mean something: before a measurement, and looking back on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pamc.errors import DeviceError
from pamc_bench.results import Block, Conditions
from pamc_bench.stats import block_variation

__all__ = ["Doubt", "UnstableError", "doubts_after", "doubts_before", "refuse_unstable"]

HOTTEST = 70.0  # °C at the start; boards slow down from 80 on (Raspberry Pi) and phones earlier
BUSY = 0.5  # load for each CPU
WARMER = 15.0  # °C
VARIATION = 0.05
MOVED = 0.05
STEADY_GOVERNORS = {"performance", "userspace"}


class UnstableError(DeviceError):
    """The device is in a state in which times mean nothing."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason not to trust times. A ``grave`` one means that they would be wrong, not just uneven."""

    what: str
    cure: str
    grave: bool = False

    def __str__(self) -> str:
        return self.what


def doubts_before(start: Conditions, cpus: int) -> tuple[Doubt, ...]:
    """What stands against measuring on a device of ``cpus`` CPUs in the conditions ``start``."""
    found = [Doubt(f"slowed down now: {reason}", "cool or power it better", grave=True) for reason in start.throttled]
    if start.celsius is not None and start.celsius > HOTTEST:
        what = f"{start.celsius:.0f} °C at the start, {HOTTEST:.0f} are too many"
        found.append(Doubt(what, "let it cool down", grave=True))
    if start.load is not None and start.load > BUSY * cpus:
        found.append(Doubt(f"load {start.load:.1f} on {cpus} CPUs before", "end what else runs there"))
    loose = sorted(set(start.governors) - STEADY_GOVERNORS)
    if loose:
        found.append(Doubt(f"frequency governor {', '.join(loose)}", "set the governor 'performance'"))
    if start.battery is not None and "discharging" in start.battery.lower():
        found.append(Doubt("runs on its battery", "connect the charger"))
    return tuple(found)


def refuse_unstable(doubts: Sequence[Doubt], device: str) -> None:
    """Raise UnstableError when a doubt is grave."""
    if grave := [doubt for doubt in doubts if doubt.grave]:
        cure = (
            f"{'; '.join(dict.fromkeys(doubt.cure for doubt in grave))}; or measure all the same with --allow-unstable"
        )
        raise UnstableError("not fit to be measured", where=device, why="; ".join(map(str, grave)), cure=cure)


def _frequency_moved(conditions: Sequence[Conditions]) -> bool:
    known = [item.megahertz for item in conditions if item.megahertz]
    return any(max(row) > (1 + MOVED) * min(row) for row in zip(*known, strict=False) if min(row) > 0)


def doubts_after(blocks: Sequence[Block], conditions: Sequence[Conditions]) -> tuple[str, ...]:
    """Reasons to mark what was measured as unstable."""
    found = []
    if blocks:
        variation = block_variation([median(block.ns) for block in blocks])
        if variation > VARIATION:
            found.append(f"blocks vary by {100 * variation:.0f} %")
        unsteady = sum(not block.steady for block in blocks)
        if unsteady:
            found.append(f"not steady after the warm-up in {unsteady} of {len(blocks)} blocks")
    if _frequency_moved(conditions):
        found.append("the frequency of the CPUs moved")
    degrees = [item.celsius for item in conditions if item.celsius is not None]
    if degrees and max(degrees) - degrees[0] > WARMER:
        found.append(f"{max(degrees) - degrees[0]:.0f} °C warmer than at the start")
    slowed = {reason for item in conditions for reason in item.throttled}
    if conditions:
        slowed |= set(conditions[-1].throttled_before) - set(conditions[0].throttled_before)
    found += [f"slowed down: {reason}" for reason in sorted(slowed)]
    return tuple(found)
