"""What is to lie on a device for a bundle to run there, as one value. Its digest is its name on the device."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pamc.errors import OutputError
from pamc_devices.messages import TASK_SET

__all__ = [
    "DESCRIPTION",
    "FORMATS",
    "ID",
    "NAME",
    "Deployment",
    "Entry",
    "Packable",
    "Parcel",
    "Program",
    "Stored",
    "entry_of",
    "from_text",
    "pack",
    "task_sets_in",
]

DESCRIPTION = "deployment.json"
FORMATS = {"onnxruntime": "onnx", "litert": "tflite"}
"""The format that each runtime opens."""
ID = re.compile(r"[0-9a-f]{64}")
"""What the name of a deployment and of an object is, a sha256; for ``fullmatch``."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""What a bundle may be called; for ``fullmatch``."""

_VERSION = 1
_PATH = re.compile(r"(bundle|program)(/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254})+")
_WORD = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")
_LONGEST = 1024
# What a runner needs beside the networks themselves.
_COMMON = ("manifest.json", "vectors.safetensors")


class Stored(Protocol):
    """A file of a bundle as its manifest lists it."""

    @property
    def sha256(self) -> str: ...
    @property
    def bytes(self) -> int: ...


class _TaskSet(Protocol):
    @property
    def emitted(self) -> bool: ...
    @property
    def files(self) -> Sequence[str]: ...


class _Manifest(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def task_sets(self) -> Mapping[str, _TaskSet]: ...
    @property
    def files(self) -> Mapping[str, Stored]: ...


class Packable(Protocol):
    """What is asked of an opened bundle."""

    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> _Manifest: ...
    def file(self, relative: str) -> Path:
        """A file of the bundle; OutputError when it is not inside of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file by its content."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Program:
    """A runner with what it loads: local ``files`` by their name on the device, and how to start it.

    ``command`` stands before the runner's own command (run, selftest, bench) and ``options`` behind everything. Words
    that begin with ``program/`` are files of the deployment.
    """

    runtime: str
    files: Mapping[str, Path]
    command: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle's ``task_sets`` with the runner for them. ``files`` are by path: ``bundle/...`` and ``program/...``.

    Raises ValueError for names and paths that are not safe to use on a device.
    """

    name: str
    runtime: str
    task_sets: tuple[str, ...]
    command: tuple[str, ...]
    options: tuple[str, ...]
    files: Mapping[str, Entry]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name for a bundle")
        if self.runtime not in FORMATS:
            raise ValueError(f"{self.runtime!r} is no runtime")
        for text in self.task_sets:
            if not TASK_SET.fullmatch(text):
                raise ValueError(f"{text!r} is no task set")
        if not self.task_sets or len(set(self.task_sets)) != len(self.task_sets):
            raise ValueError("the task sets are not at least one and all different")
        for path, entry in self.files.items():
            if not _PATH.fullmatch(path) or len(path) > _LONGEST:
                raise ValueError(f"{path!r} is no path for a file on a device")
            if not ID.fullmatch(entry.sha256) or type(entry.bytes) is not int or entry.bytes < 0:
                raise ValueError(f"{path} has no proper sha256 and size")
        folders = {"/".join(path.split("/")[:depth]) for path in self.files for depth in range(1, path.count("/") + 1)}
        if both := sorted(folders.intersection(self.files)):
            raise ValueError(f"{both[0]} is a file and a folder")
        for word in (*self.command, *self.options):
            if not _WORD.fullmatch(word) or (word.startswith("program/") and word not in self.files):
                raise ValueError(f"{word!r} cannot be a part of the runner's command")
        if not self.command or self.command[0].startswith("-"):
            raise ValueError("the runner's command names no program")

    @property
    def text(self) -> str:
        """One line of JSON; the same for the same content."""
        return json.dumps({"version": _VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":")) + "\n"

    @property
    def id(self) -> str:
        """sha256 of :attr:`text`, in hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def all_files(self) -> dict[str, Entry]:
        """The files with the description itself."""
        return {**self.files, DESCRIPTION: Entry(self.id, len(self.text.encode()))}

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.bytes for entry in self.all_files.values())


@dataclass(frozen=True, slots=True)
class Parcel:
    """A deployment with the local file of each path."""

    deployment: Deployment
    sources: Mapping[str, Path]


def from_text(text: str) -> Deployment:
    """The inverse of :attr:`Deployment.text`. Raises ValueError for anything else than that would have written."""
    try:
        data: Any = json.loads(text)
        found = Deployment(
            data["name"],
            data["runtime"],
            tuple(data["task_sets"]),
            tuple(data["command"]),
            tuple(data["options"]),
            {path: Entry(**entry) for path, entry in data["files"].items()},
        )
        same = found.text == text
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"the description of a deployment is damaged: {error}") from error
    if not same:
        raise ValueError("the description of a deployment is not in the form in which this pamc writes it")
    return found


def task_sets_in(bundle: Packable, runtime: str) -> tuple[str, ...]:
    """The task sets of ``bundle`` that have a network for ``runtime``."""
    folder = f"{FORMATS[runtime]}/"
    sets = bundle.manifest.task_sets
    return tuple(
        text for text, entry in sets.items() if entry.emitted and any(name.startswith(folder) for name in entry.files)
    )


def pack(bundle: Packable, task_sets: Sequence[str], program: Program) -> Parcel:
    """The deployment of some task sets of a bundle, which must have networks for the program's runtime.

    Hashes of the bundle's files are those of its manifest; the device checks them. Raises OutputError when names or
    paths of the bundle are not safe to use on a device, or a file cannot be read.
    """
    folder = f"{FORMATS[program.runtime]}/"
    manifest = bundle.manifest
    wanted = dict.fromkeys(
        name for text in task_sets for name in manifest.task_sets[text].files if name.startswith(folder)
    )
    paths = {f"bundle/{name}": bundle.file(name) for name in (*_COMMON, *wanted)}
    programs = {f"program/{name}": path for name, path in program.files.items()}
    try:
        listed = {f"bundle/{name}": Entry(entry.sha256, entry.bytes) for name, entry in manifest.files.items()}
        files = {path: listed.get(path) or entry_of(local) for path, local in {**paths, **programs}.items()}
        deployment = Deployment(
            manifest.name, program.runtime, tuple(task_sets), program.command, program.options, files
        )
    except ValueError as error:
        raise OutputError(
            f"the bundle cannot be deployed: {error}", where=str(bundle.path), cure="build it again with this pamc"
        ) from error
    except OSError as error:
        raise OutputError(f"a file cannot be read: {error.strerror}", where=str(error.filename)) from error
    return Parcel(deployment, {**paths, **programs})


def entry_of(path: Path) -> Entry:
    """The entry of a local file. OSErrors pass through."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(digest, path.stat().st_size)
