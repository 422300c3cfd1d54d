"""What an analysis of redundancy found, as values and as the text of ``redundancy.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pamc.bundle import Bundle
from pamc.bundle.decode import Damage, decode
from pamc.errors import ConfigError, OutputError
from pamc.graph import MultitaskGraph
from pamc.task_sets import parse_task_set

__all__ = [
    "REDUNDANCY",
    "SCHEMA_VERSION",
    "Duplicate",
    "Gain",
    "Group",
    "Knowledge",
    "Layer",
    "PartlyNeeded",
    "Redundancy",
    "from_json",
    "read_redundancy",
    "to_json",
]

REDUNDANCY = "redundancy.json"
SCHEMA_VERSION = 1
NOBODY = "-"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the units of a group say together about a task that does not own them, in nats.

    ``shuffled`` is the mean of the same estimate for labels in random order, ``spread`` its standard deviation.
    """

    task: str
    nats: float
    shuffled: float
    spread: float


@dataclass(frozen=True, slots=True)
class Group:
    """The units of a layer with the same owners, by their number, and what they know beyond their tasks."""

    owners: str
    units: int
    knows: tuple[Knowledge, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two units of different tasks that say the same; ``feasible`` when the estimate makes them one."""

    unit: int
    owners: str
    twin: int
    twin_owners: str
    correlation: float
    feasible: bool


@dataclass(frozen=True, slots=True)
class PartlyNeeded:
    """A shared unit that matters to fewer tasks than own it; ``needed_by`` is ``-`` for none.

    ``influence`` by owner is in multiples of the mean influence on this task among the layer's units that it owns;
    ``feasible`` when the estimate releases it.
    """

    unit: int
    owners: str
    needed_by: str
    influence: Mapping[str, float]
    feasible: bool


@dataclass(frozen=True, slots=True)
class Layer:
    """Findings in one channel space."""

    space: str
    groups: tuple[Group, ...]
    duplicates: tuple[Duplicate, ...]
    partly_needed: tuple[PartlyNeeded, ...]


@dataclass(frozen=True, slots=True)
class Gain:
    """Multiply-accumulates of a task set as the network is, and with all feasible findings applied."""

    now: int
    then: int


@dataclass(frozen=True, slots=True)
class Redundancy:
    """The whole analysis.

    ``entropy`` is that of each task's labels in nats, the ceiling of what can be known about them. Two units are
    duplicates from an absolute correlation of ``similarity`` on; a unit matters to a task from ``importance`` times
    the mean influence on.
    """

    samples: int
    seed: int
    similarity: float
    importance: float
    entropy: Mapping[str, float]
    layers: tuple[Layer, ...]
    gains: Mapping[str, Gain]
    schema_version: int = SCHEMA_VERSION


def to_json(found: Redundancy) -> str:
    """The text of the file; the same findings give the same text."""
    return json.dumps(asdict(found), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def from_json(text: str, net: MultitaskGraph) -> Redundancy:
    """The inverse of :func:`to_json`, for a file that somebody else may have written.

    Raises OutputError for another schema version, for damage, and when the file does not fit ``net``.
    """
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise Damage("the file does not hold an object")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise OutputError(
                f"the analysis has schema version {version!r}, this pamc reads {SCHEMA_VERSION}",
                where=REDUNDANCY,
                cure="build the bundle again, or use the version of pamc that built it",
            )
        found: Redundancy = decode(Redundancy, data, "redundancy")
        _check(found, net)
    except (ValueError, RecursionError) as error:
        raise OutputError(
            f"the analysis of redundancy cannot be read: {error}",
            where=REDUNDANCY,
            why="the bundle is damaged, or the file belongs to another one",
            cure="copy or build the bundle again",
        ) from error
    return found


def _check(found: Redundancy, net: MultitaskGraph) -> None:
    """Raises Damage where names or numbers do not exist in the network."""
    sets = list(found.gains)
    named: list[str] = []
    for layer in found.layers:
        if layer.space not in net.prunable:
            raise Damage(f"'{layer.space}' is no layer of the network")
        sets += [group.owners for group in layer.groups]
        named += [known.task for group in layer.groups for known in group.knows]
        units = []
        for pair in layer.duplicates:
            sets += [pair.owners, pair.twin_owners]
            units += [pair.unit, pair.twin]
        for part in layer.partly_needed:
            sets += [text for text in (part.owners, part.needed_by) if text != NOBODY]
            named += part.influence
            units.append(part.unit)
        if any(not 0 <= unit < net.spaces.sizes[layer.space] for unit in units):
            raise Damage(f"layer '{layer.space}' has {net.spaces.sizes[layer.space]} units, not {sorted(units)}")
    for text in sets:
        if parse_task_set(text, net.tasks) != text:
            raise Damage(f"task set '{text}' is not in the order of the tasks")
    if unknown := sorted(set(named) - set(net.tasks)):
        raise Damage(f"unknown tasks {unknown}")
    if set(found.entropy) != set(net.tasks) or min(found.entropy.values()) < 0:
        raise Damage(f"label entropies are {dict(found.entropy)}, should be positive and those of all tasks")


def read_redundancy(bundle: Bundle) -> Redundancy:
    """The analysis in a bundle.

    Raises ConfigError for a bundle that was built without one, OutputError for a damaged one.
    """
    if REDUNDANCY not in bundle.manifest.files:
        raise ConfigError(
            "the bundle holds no analysis of redundancy",
            where=str(bundle.path),
            why="it was built by an older pamc, and the analysis needs training data, which no bundle holds",
            cure="build it again; what the cache holds is not computed anew",
        )
    try:
        text = bundle.file(REDUNDANCY).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{REDUNDANCY} cannot be read: {error}", where=str(bundle.path)) from error
    return from_json(text, bundle.net)
