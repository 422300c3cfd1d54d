"""The store of a device: what lies under its `home()`, and the few steps by which that changes.

    store/objects/<sha256>             every file that was sent, by content
    store/deployments/<id>/            a bundle with its runner, whole: hard links to objects, or copies
    store/deployments/<id>/deployment.json  describes it; <id> is the sha256 of this file
    store/current/<bundle>             two lines: the id of the current deployment and that of the previous one

What ends in `.part` is not finished. A file is known by the sha256 that the device computes, never by its size or date.
Everything here expects that the caller holds the device's lock where it changes something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from pamc_devices.base import Device
from pamc_devices.deployment import ID, NAME, Deployment, Parcel, from_text
from pamc_devices.failures import failure
from pamc_devices.scripts import script
from pamc_devices.states import DamagedError, MissingRuntimeError

__all__ = ["Pointer", "Store", "Survey"]

_HASH_TIMEOUT = 600.0
_SENT, _PROGRAM = "444", "555"
_FREE = re.compile(r"\s\d+\s+\d+\s+(-?\d+)\s+(\d+%|-)\s")


@dataclass(frozen=True, slots=True)
class Pointer:
    """The deployments of one bundle: the one in use, and the one before it."""

    current: str
    previous: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a store holds. ``deployments`` are those whose description can be read; ``broken`` names the others."""

    free_bytes: int
    objects: frozenset[str]
    deployments: Mapping[str, Deployment]
    broken: frozenset[str]
    pointers: Mapping[str, Pointer]

    def kept(self) -> frozenset[str]:
        """Ids of the deployments that a pointer names."""
        return frozenset(id for held in self.pointers.values() for id in (held.current, held.previous) if id)


@dataclass(frozen=True, slots=True)
class Store:
    """The store of ``device``."""

    device: Device

    @property
    def root(self) -> str:
        """Its folder on the device."""
        return f"{self.device.home()}/store"

    def folder(self, id: str) -> str:
        """The folder of a deployment on the device; ``<id>.part`` while it is made."""
        return f"{self.root}/deployments/{id}"

    def survey(self) -> Survey:
        """What there is. Changes nothing. Raises DamagedError when the answer makes no sense."""
        return _read_survey(self._run("survey", self.device.home()), self.device.url)

    def prepare(self) -> bool:
        """Make the store, remove what is unfinished; return whether files can have two names, so links take no room."""
        return self._run("prepare", self.device.home()) == "links\n"

    def hashes(self, paths: Iterable[str]) -> dict[str, str]:
        """sha256, computed on the device, of those of ``paths`` (relative to the store) that can be read."""
        asked = tuple(paths)
        # Nothing can be read where there is no store yet.
        home = self.device.home()
        text = self._run("hashes", home, lines=(f"store/{path}" for path in asked), timeout=_HASH_TIMEOUT)
        found = {}
        for line in text.splitlines():
            sha, path = line[:64], line[66:].removeprefix("store/")
            if not ID.fullmatch(sha) or path not in asked:
                raise DamagedError(
                    "the device's sha256sum answers in another form", where=self.device.url, why=line[:99]
                )
            found[path] = sha
        return found

    def is_right(self, deployment: Deployment) -> bool:
        """Whether every file of a deployment's folder is there, with the right content."""
        return not self.wrong_files(deployment, deployment.id)

    def wrong_files(self, deployment: Deployment, folder: str) -> tuple[str, ...]:
        """Paths of a deployment whose files in ``deployments/<folder>`` are missing or of another content."""
        wanted = deployment.all_files
        found = self.hashes(f"deployments/{folder}/{path}" for path in wanted)
        return tuple(
            path for path, entry in wanted.items() if found.get(f"deployments/{folder}/{path}") != entry.sha256
        )

    def adopt(self, deployment: Deployment) -> None:
        """Check the objects that arrived, name those of ``deployment`` that are right, and remove the others."""
        lines = {
            f"{entry.sha256} {_PROGRAM if path.startswith('program/') else _SENT}"
            for path, entry in deployment.all_files.items()
        }
        self._run("keep", self.root, lines=sorted(lines), timeout=_HASH_TIMEOUT)

    def forget_arrivals(self) -> None:
        """Remove the objects that arrived and have no name yet."""
        self._run("keep", self.root)

    def missing_objects(self, deployment: Deployment) -> frozenset[str]:
        """Hashes of a deployment's files of which no right object is there."""
        wanted = {entry.sha256 for entry in deployment.all_files.values()}
        found = self.hashes(f"objects/{sha}" for sha in sorted(wanted))
        return frozenset(sha for sha in wanted if found.get(f"objects/{sha}") != sha)

    def send(self, parcel: Parcel, sha256: str) -> None:
        """Bring one object to the device; it has no name there until :meth:`adopt`."""
        target = f"{self.root}/objects/{sha256}.part"
        deployment = parcel.deployment
        if sha256 == deployment.id:
            with NamedTemporaryFile(prefix="pamc-deployment-") as file:
                file.write(deployment.text.encode())
                file.flush()
                self.device.push(Path(file.name), target)
            return
        path = next(path for path, entry in deployment.files.items() if entry.sha256 == sha256)
        self.device.push(parcel.sources[path], target)

    def assemble(self, deployment: Deployment) -> None:
        """Make the folder ``<id>.part`` from objects, and check it. Raises DamagedError when a file is not right."""
        lines = (f"{entry.sha256} {path}" for path, entry in deployment.all_files.items())
        self._run("assemble", self.root, deployment.id, lines=lines, timeout=_HASH_TIMEOUT)
        if wrong := self.wrong_files(deployment, f"{deployment.id}.part"):
            raise DamagedError(
                f"files are not what they were after they had been copied on the device: {', '.join(wrong)}",
                where=self.device.url,
                why="their sha256 is another one",
                cure="deploy again; when it happens again, the device's disk or memory card is failing",
            )

    def settle(self, id: str) -> None:
        """Give ``<id>.part`` its name."""
        self._run("settle", self.root, id)

    def point(self, name: str, pointer: Pointer) -> None:
        """Switch a bundle to another deployment, at once for whoever reads the pointer."""
        self._run("point", self.root, name, pointer.current, pointer.previous or "")

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files and folders (relative to the store)."""
        if lines := tuple(paths):
            self._run("remove", self.root, lines=lines)

    def _run(self, step: str, *words: str, lines: Iterable[str] = (), timeout: float = 120.0) -> str:
        stdin = "".join(f"{line}\n" for line in lines).encode()
        argv = ("sh", "-c", script(f"deploy-{step}.sh"), "sh", *words)
        result = self.device.run(argv, stdin=stdin, timeout=timeout)
        if result.status == 127 and b"sha256sum" in result.stderr:
            raise MissingRuntimeError(
                "the device has no sha256sum, by which pamc checks what it sends",
                where=self.device.url,
                cure="install coreutils, busybox or toybox there",
            )
        if result.status:
            raise failure((f"the store ({step})",), result, self.device.url)
        return result.stdout.decode("utf-8", "surrogateescape")


def _read_survey(text: str, url: str) -> Survey:
    free: int | None = None
    objects, broken = set(), set()
    deployments: dict[str, Deployment] = {}
    pointers: dict[str, Pointer] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "df" and (found := _FREE.search(f"{rest} ")):
            free = max(0, 1024 * int(found[1]))
        elif kind == "object" and ID.fullmatch(rest):
            objects.add(rest)
        elif kind == "deployment":
            id, _, described = rest.partition(" ")
            if not ID.fullmatch(id):
                continue
            try:
                deployment = from_text(f"{described}\n")
            except ValueError:
                broken.add(id)
                continue
            if deployment.id == id:
                deployments[id] = deployment
            else:
                broken.add(id)
        elif kind == "pointer":
            words = rest.split(" ")
            name, current, previous = (*words, "", "")[:3]
            if NAME.fullmatch(name) and ID.fullmatch(current):
                pointers[name] = Pointer(current, previous if ID.fullmatch(previous) else None)
    if free is None:
        raise DamagedError(
            "the device does not say how much room it has", where=url, why="df -Pk answers in another form"
        )
    return Survey(free, frozenset(objects), deployments, frozenset(broken), pointers)
