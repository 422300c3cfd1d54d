"""Brings a bundle to a device: what is missing is sent, all is checked there, and then it takes the old one's place.

The order is that of :func:`deploy`. Until the pointer is switched the previous deployment is untouched; an error or an
interruption at any point leaves it in use, and the next deploy goes on with the objects that had arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from pamc.errors import ConfigError, DeviceError
from pamc_devices.base import Device
from pamc_devices.deployment import Deployment, Parcel
from pamc_devices.failures import failure
from pamc_devices.messages import Checked, Message, raise_failure, read_lines
from pamc_devices.planning import Plan, check_space, plan, unused
from pamc_devices.states import DamagedError
from pamc_devices.store import Pointer, Store, Survey

__all__ = [
    "SELF_TEST_SECONDS",
    "Deployed",
    "Outcome",
    "current",
    "deploy",
    "discard",
    "look",
    "prune",
    "remove",
    "rollback",
    "self_test",
]

SELF_TEST_SECONDS = 900.0
"""How long a self-test may take; a runner that hangs is stopped then."""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment in the folder ``folder`` of ``device``; ``bundle`` is the folder in it that its runner gets."""

    device: Device
    deployment: Deployment
    folder: str
    bundle: str = "bundle"

    def argv(self, command: str, *options: str) -> tuple[str, ...]:
        """The command line of its runner for ``run``, ``selftest`` or ``bench`` with these options."""
        before, after = (
            [f"{self.folder}/{word}" if word.startswith("program/") else word for word in words]
            for words in (self.deployment.command, self.deployment.options)
        )
        return (*before, command, f"{self.folder}/{self.bundle}", *options, *after)

    def ask(self, command: str, *options: str, timeout: float) -> tuple[Message, ...]:
        """Run its runner and return what it says.

        Raises what `failures.failure` makes of a runner that could not even start, DamagedError for an answer that is
        not whole, and the errors of `messages.raise_failure`.
        """
        argv = self.argv(command, *options)
        result = self.device.run(argv, timeout=timeout)
        if result.status and not result.stdout:
            raise failure(argv, result, self.device.url)
        try:
            messages = read_lines(result)
        except DamagedError as error:
            error.where = self.device.url
            raise
        raise_failure(messages, self.device.url)
        return messages


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a deploy did: the plan that it followed, and the self-test of every task set."""

    deployed: Deployed
    plan: Plan
    checks: tuple[Checked, ...]


def look(device: Device, parcel: Parcel, *, prune: bool = False) -> Plan:
    """The steps that :func:`deploy` would take now. Changes nothing on the device."""
    store, wanted = Store(device), parcel.deployment
    return _plan(store, store.survey(), wanted, prune)


def deploy(
    device: Device,
    parcel: Parcel,
    *,
    prune: bool = False,
    switch: bool = True,
    prove: bool = True,
    threads: int = 1,
    seconds: float = SELF_TEST_SECONDS,
    note: Note = lambda text: None,
) -> Outcome:
    """Bring ``parcel`` to the device, prove it there, and let the bundle's pointer name it.

    ``prune`` removes, before and after, what no pointer names. Without ``switch`` the deployment is made and proven,
    and no pointer is touched; without ``prove`` there is no self-test, for networks that nobody is to use. ``seconds``
    is the limit for the self-test. The caller holds the device's lock.
    Raises VerificationError when a task set does not answer as the PyTorch networks, and the states of
    `pamc_devices.states`; the pointer is as before then.
    """
    store, wanted = Store(device), parcel.deployment
    links = store.prepare()
    store.adopt(wanted)
    survey = store.survey()
    if prune:
        store.remove(path for path in unused(survey, survey.kept() | {wanted.id}) if not _part_of(path, wanted))
        survey = store.survey()
    made = _plan(store, survey, wanted, prune)
    check_space(made, wanted, links, device.url, prune)
    try:
        for sha, path, size in made.send:
            note(f"send {path} ({size:,} bytes)")
            store.send(parcel, sha)
        if made.send:
            store.adopt(wanted)
        if made.assemble:
            note("assemble and check the files on the device")
            store.assemble(wanted)
        folder = store.folder(f"{wanted.id}.part" if made.assemble else wanted.id)
        checks: tuple[Checked, ...] = ()
        if prove:
            note(f"test {len(wanted.task_sets)} task sets on the device")
            checks = self_test(Deployed(device, wanted, folder), threads=threads, seconds=seconds)
        if made.assemble:
            store.settle(wanted.id)
    except BaseException:
        if made.assemble:
            # The first error is the one to report; what cannot be removed now the next deploy removes.
            with suppress(DeviceError):
                store.remove([f"deployments/{wanted.id}.part"])
        raise
    if switch and made.switches:
        store.point(wanted.name, made.pointer)
    if switch and made.remove:
        note(f"remove {len(made.remove)} old files and folders")
        store.remove(made.remove)
    return Outcome(Deployed(device, wanted, store.folder(wanted.id)), made, checks)


def self_test(deployed: Deployed, *, threads: int = 1, seconds: float = SELF_TEST_SECONDS) -> tuple[Checked, ...]:
    """Run every task set on the golden vectors, on the device.

    Raises VerificationError when an output is too far off, DamagedError when the runner did not answer for every
    output of every task set.
    """
    sets = deployed.deployment.task_sets
    options = [word for text in sets for word in ("--tasks", text)]
    messages = deployed.ask("selftest", *options, "--threads", str(threads), timeout=seconds)
    checks = tuple(line for line in messages if isinstance(line, Checked))
    found = {(line.task_set, line.task) for line in checks}
    wanted = {(text, task) for text in sets for task in text.split("+")}
    if found != wanted:
        text, task = sorted(found ^ wanted)[0]
        raise DamagedError(
            f"the self-test did not answer for just the outputs of the bundle: {task} of task set {text}",
            where=deployed.device.url,
            cure="deploy with the runner of this version of pamc",
        )
    return checks


def current(device: Device, name: str) -> Deployed:
    """The deployment of bundle ``name`` in use.

    Raises ConfigError when there is none, DamagedError when it cannot be read.
    """
    survey = Store(device).survey()
    return _deployed(device, survey, name, _pointer(survey, name, device).current)


def rollback(device: Device, name: str, *, threads: int = 1) -> Deployed:
    """Let bundle ``name`` use its previous deployment again, after another self-test; the present one becomes previous.

    The caller holds the lock. Raises ConfigError when there is no previous one, and as :func:`deploy` does.
    """
    store = Store(device)
    store.prepare()
    survey = store.survey()
    pointer = _pointer(survey, name, device)
    if pointer.previous is None:
        raise ConfigError(
            f"there is no previous deployment of {name}", where=device.url, cure="deploy the one you want"
        )
    found = _deployed(device, survey, name, pointer.previous)
    if wrong := store.wrong_files(found.deployment, pointer.previous):
        raise DamagedError(
            f"files of the previous deployment are damaged: {', '.join(wrong)}",
            where=device.url,
            cure="deploy that bundle again",
        )
    self_test(found, threads=threads)
    store.point(name, Pointer(pointer.previous, pointer.current))
    return found


def remove(device: Device, name: str) -> tuple[str, ...]:
    """Take bundle ``name`` off the device with all that no other bundle needs; return what was removed.

    The caller holds the lock. Raises ConfigError when it is not there.
    """
    store = Store(device)
    store.prepare()
    survey = store.survey()
    _pointer(survey, name, device)
    store.remove([f"current/{name}"])
    rest = replace(survey, pointers={other: held for other, held in survey.pointers.items() if other != name})
    gone = unused(rest, rest.kept())
    store.remove(gone)
    store.forget_arrivals()
    return gone


def discard(device: Device, deployment: Deployment) -> None:
    """Take a deployment that no pointer names off the device, with what arrived for it and no other deployment needs.

    It need not be there, or not wholly. The caller holds the lock.
    """
    store = Store(device)
    store.prepare()
    store.forget_arrivals()
    survey = store.survey()
    others = [found for id, found in survey.deployments.items() if id != deployment.id]
    needed = {entry.sha256 for found in others for entry in found.all_files.values()}
    own = {entry.sha256 for entry in deployment.all_files.values()} & survey.objects
    store.remove((f"deployments/{deployment.id}", *(f"objects/{sha}" for sha in sorted(own - needed))))


def prune(device: Device) -> tuple[str, ...]:
    """Remove what no pointer names; return it. The caller holds the lock."""
    store = Store(device)
    store.prepare()
    store.forget_arrivals()
    survey = store.survey()
    gone = unused(survey, survey.kept())
    store.remove(gone)
    return gone


def _plan(store: Store, survey: Survey, wanted: Deployment, prune: bool) -> Plan:
    right = wanted.id in survey.deployments and store.is_right(wanted)
    missing = frozenset[str]() if right else store.missing_objects(wanted)
    return plan(survey, missing, right, wanted, prune)


def _part_of(path: str, wanted: Deployment) -> bool:
    return path.removeprefix("objects/") in {entry.sha256 for entry in wanted.all_files.values()}


def _pointer(survey: Survey, name: str, device: Device) -> Pointer:
    if name not in survey.pointers:
        there = ", ".join(sorted(survey.pointers))
        raise ConfigError(
            f"no bundle called '{name}' is deployed there",
            where=device.url,
            cure=f"there are: {there}" if there else "deploy it with `pamc deploy`",
        )
    return survey.pointers[name]


def _deployed(device: Device, survey: Survey, name: str, id: str) -> Deployed:
    if id not in survey.deployments:
        raise DamagedError(
            f"the deployment of {name} is damaged or was removed", where=device.url, cure="deploy the bundle again"
        )
    return Deployed(device, survey.deployments[id], Store(device).folder(id))
