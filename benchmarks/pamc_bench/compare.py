"""Two measurements side by side: what belongs together, what changed, and which goals are missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pamc.errors import ConfigError, GoalMissedError
from pamc_bench.differences import Interval
from pamc_bench.goals import MEASURES, TIMED, Goal, Verdict, change_of, judge
from pamc_bench.results import DeviceEntry, Key, Result, Variant

__all__ = ["Comparison", "Finding", "Pair", "compare", "compare_baseline", "refuse_missed"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two variants that are compared, and the changes of all measures that both have."""

    after: Variant
    before: Variant
    changes: Mapping[str, Interval]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One goal for one pair. ``verdict`` is None where the pair lacks the measure."""

    pair: Pair
    goal: Goal
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs and findings. ``paired`` says that both were measured in the same rounds."""

    paired: bool
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def of(self, verdict: Verdict | None) -> tuple[Finding, ...]:
        """The findings with this verdict."""
        return tuple(finding for finding in self.findings if finding.verdict == verdict)


def _pair(after: Variant, before: Variant, paired: bool, timed: bool) -> Pair:
    changes = {}
    for measure in MEASURES:
        # Times of an emulator say nothing about any processor.
        if timed or measure not in TIMED:
            change = change_of(measure, after, before, paired=paired)
            if change is not None:
                changes[measure] = change
    notes = [f"unstable: {reason}" for reason in dict.fromkeys((*before.unstable, *after.unstable))]
    if after.runtime_version != before.runtime_version:
        notes.append(f"{after.key.runtime} {before.runtime_version} before, {after.runtime_version} after")
    return Pair(after, before, changes, tuple(notes))


def _judged(pairs: Sequence[Pair], goals: Sequence[Goal]) -> Iterator[Finding]:
    for pair in pairs:
        for goal in goals:
            change = pair.changes.get(goal.measure)
            yield Finding(pair, goal, None if change is None else judge(change, goal.limit))


def _comparison(paired: bool, pairs: Sequence[Pair], goals: Sequence[Goal], notes: Sequence[str]) -> Comparison:
    findings = tuple(_judged(pairs, goals))
    for goal in goals:
        if all(finding.verdict is None for finding in findings if finding.goal == goal):
            raise ConfigError(
                f"{MEASURES[goal.measure]} was not measured on both sides",
                where=f"--fail-if {goal}",
                why="the device is emulated" if goal.measure in TIMED else None,
                cure="measure it on both sides, or leave the goal out",
            )
    return Comparison(paired, tuple(pairs), findings, tuple(notes))


def compare_baseline(result: Result, goals: Sequence[Goal] = ()) -> Comparison:
    """The bundles of one result with its baseline, round by round. Raises ConfigError when it has no baseline."""
    if result.baseline is None:
        raise ConfigError(
            "the result has one bundle alone", cure="name two results, or measure with pamc bench --against BUNDLE"
        )
    by_key = {variant.key: variant for variant in result.variants}
    pairs = []
    for variant in result.variants:
        before = by_key.get(replace(variant.key, bundle=result.baseline))
        if variant.key.bundle != result.baseline and before is not None:
            timed = not result.devices[variant.key.device].emulated
            pairs.append(_pair(variant, before, paired=True, timed=timed))
    return _comparison(True, pairs, goals, () if result.complete else ("the measurement is not complete",))


def _unlike(after: DeviceEntry, before: DeviceEntry) -> str | None:
    """Why times on the two do not compare."""
    for word, a, b in (
        ("model", after.model, before.model),
        ("machine", after.machine, before.machine),
        ("number of CPUs", after.cpus, before.cpus),
        ("emulation", after.emulated, before.emulated),
    ):
        if a != b:
            return f"the {word} was {b} before and is {a} after"
    return None


def _by_place(result: Result) -> dict[tuple[object, ...], Variant]:
    """Variants by what both sides of a comparison have in common, the devices by their place in the result."""
    bundles = {variant.key.bundle for variant in result.variants}
    if len(bundles) > 1:
        raise ConfigError(
            f"a result has the bundles {', '.join(sorted(bundles))}",
            cure="compare it alone: its bundles are then compared with its baseline",
        )
    devices = {name: place for place, name in enumerate(result.devices)}

    def place(key: Key) -> tuple[object, ...]:
        return devices[key.device], key.task_set, key.runtime, key.threads, key.cpus

    return {place(variant.key): variant for variant in result.variants}


def _check_alike(after: Result, before: Result, allow_unlike: bool) -> list[str]:
    found = []
    if len(after.devices) != len(before.devices):
        found.append(f"there were {len(before.devices)} devices before and are {len(after.devices)} after")
    for old, new in zip(before.devices.values(), after.devices.values(), strict=False):
        if why := _unlike(new, old):
            found.append(why)
    missing = set(_by_place(before)) ^ set(_by_place(after))
    if missing:
        names = sorted({" ".join(map(str, place[1:4])) for place in missing})
        found.append(f"only one of them has: {', '.join(f'{name} threads' for name in names)}")
    if found and not allow_unlike:
        raise ConfigError(
            "the two results do not compare",
            why="; ".join(found),
            cure="measure the same on both sides, or compare what they share with --allow-unlike",
        )
    return found


def compare(before: Result, after: Result, goals: Sequence[Goal] = (), *, allow_unlike: bool = False) -> Comparison:
    """Two results that were measured apart. Raises ConfigError when they are of unlike devices or task sets."""
    notes = [
        "measured apart: what the machine did differently in between counts as a change; "
        "pamc bench --against measures both in turn",
        *_check_alike(after, before, allow_unlike),
    ]
    old, new = _by_place(before), _by_place(after)
    pairs = []
    for place, variant in new.items():
        if place in old:
            entries = after.devices[variant.key.device], before.devices[old[place].key.device]
            pairs.append(_pair(variant, old[place], paired=False, timed=not any(entry.emulated for entry in entries)))
    if not pairs:
        raise ConfigError("the two results have nothing in common", cure="measure the same task sets on both sides")
    notes += [
        f"the result {side} is not complete" for side, r in (("before", before), ("after", after)) if not r.complete
    ]
    return _comparison(False, pairs, goals, notes)


def refuse_missed(comparison: Comparison, *, undecided: bool = False) -> None:
    """Raise GoalMissedError when a goal is missed, and with ``undecided`` also when one could not be decided."""
    missed = comparison.of("missed") + (comparison.of("undecided") if undecided else ())
    if missed:
        texts = [
            f"{finding.pair.after.key.task_set} {finding.pair.after.key.runtime} {finding.goal}: {finding.verdict}"
            for finding in missed
        ]
        raise GoalMissedError(f"{len(missed)} of {len(comparison.findings)} goals are not met", why="; ".join(texts))
