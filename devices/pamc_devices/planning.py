"""What a deploy has to do, decided before anything is done: a pure function of what is there and what is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pamc_devices.deployment import Deployment
from pamc_devices.states import NoSpaceError
from pamc_devices.store import Pointer, Survey

__all__ = ["Plan", "check_space", "plan", "pointer_after", "unused"]

# Folders, descriptions and the blocks that files do not fill.
_SLACK = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a deploy. ``send`` are (sha256, path, bytes) of objects, ``remove`` paths in the store.

    ``assemble`` is false where the deployment lies there already, whole. ``pointer`` is what the bundle's pointer will
    say after the self-test.
    """

    send: tuple[tuple[str, str, int], ...]
    assemble: bool
    pointer: Pointer
    switches: bool
    remove: tuple[str, ...]
    free_bytes: int

    @property
    def send_bytes(self) -> int:
        """How much goes over the wire."""
        return sum(size for _, _, size in self.send)


def pointer_after(old: Pointer | None, id: str) -> Pointer:
    """The pointer once ``id`` is in use. Deploying what is in use already forgets nothing."""
    if old is None:
        return Pointer(id, None)
    return old if old.current == id else Pointer(id, old.current)


def unused(survey: Survey, kept: Iterable[str]) -> tuple[str, ...]:
    """Deployments other than ``kept``, and objects that no kept one holds, as paths in the store."""
    keep = frozenset(kept)
    held = {
        entry.sha256 for id in keep & survey.deployments.keys() for entry in survey.deployments[id].all_files.values()
    }
    gone = sorted((survey.deployments.keys() | survey.broken) - keep)
    return (*(f"deployments/{id}" for id in gone), *(f"objects/{sha}" for sha in sorted(survey.objects - held)))


def plan(survey: Survey, missing: frozenset[str], right: bool, wanted: Deployment, prune: bool) -> Plan:
    """The steps to ``wanted``.

    ``missing`` are hashes of its files of which the device has no right object, ``right`` says whether its folder is
    there, whole. With ``prune`` what no pointer names afterwards is removed. An object is sent only for a folder that
    is not whole.
    """
    files = wanted.all_files
    paths = {entry.sha256: path for path, entry in files.items()}
    send = () if right else tuple((sha, path, files[path].bytes) for sha, path in paths.items() if sha in missing)
    old = survey.pointers.get(wanted.name)
    pointer = pointer_after(old, wanted.id)
    pointers = {**survey.pointers, wanted.name: pointer}
    kept = {id for held in pointers.values() for id in (held.current, held.previous) if id}
    after = unused(survey, kept) if prune else ()
    new = {f"objects/{sha}" for sha in paths}
    return Plan(
        send, not right, pointer, pointer != old, tuple(path for path in after if path not in new), survey.free_bytes
    )


def check_space(made: Plan, wanted: Deployment, links: bool, url: str, pruned: bool) -> None:
    """Raise NoSpaceError where the objects to send, and copies of all files if there are no ``links``, do not fit."""
    copies = wanted.bytes if made.assemble and not links else 0
    needed = made.send_bytes + copies + _SLACK
    if (made.send or made.assemble) and needed > made.free_bytes:
        raise NoSpaceError(
            "the device has not enough room for the bundle",
            where=url,
            why=f"{needed / 1e6:.1f} MB are needed, {made.free_bytes / 1e6:.1f} MB are free",
            cure="deploy fewer task sets, or free some space there"
            if pruned
            else "deploy with --prune, or free some space there",
        )
