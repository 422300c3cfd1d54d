"""Exact counts of A64 instructions: one process of a runner under QEMU, with a plugin that counts between its marks.

How many instructions a program takes depends on all that it sees: on the time, and on the lengths of paths, which move
what lies in its memory. So a counted process sees nothing of this machine: its environment is empty, its paths are of
the same length wherever its files lie, its random numbers come from one seed, its clock counts how often it is read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc.errors import InternalError
from pamc_devices.base import Result
from pamc_devices.boardfiles import BOARDS
from pamc_devices.folders import content_key, made_once
from pamc_devices.messages import Message, raise_failure, read_lines
from pamc_devices.roots import board_root, qemu_program
from pamc_devices.runner import PLATFORMS, PYTHON_RUNNER, fetch_onnxruntime, find_runner
from pamc_devices.runner.compile import compile_c, find_compiler
from pamc_devices.states import DamagedError, MissingRuntimeError, TimedOutError

__all__ = ["CLASSES", "OPTIONS", "Counted", "Workplace", "counter", "qemu_version", "workplace"]

CLASSES = (
    "fma_vector",
    "fma_scalar",
    "dot",
    "simd",
    "float_scalar",
    "load_vector",
    "store_vector",
    "load",
    "store",
    "branch",
    "integer",
    "other",
)
"""The classes of instructions, in the order of the plugin's counts; docs/counting.md says what each holds."""

WARMUP = 2
REGION = 2
"""The inference that counts: the first ones of a process allocate what later ones find."""
OPTIONS = (
    *("--threads", "1"),
    *("--min-runs", str(REGION + 1)),
    *("--min-seconds", "0"),
    *("--max-seconds", "600"),
    *("--warmup-runs", str(WARMUP)),
    *("--warmup-seconds", "0"),
    *("--warmup-max-seconds", "0"),
    "--marks",
)
"""The runner's options for a counted process."""

_SECONDS = 1800.0
_PLATFORM = PLATFORMS["linux-aarch64"]
# Not the folder for temporary files that a user has chosen: the path is to have the same length everywhere.
_PLACE = "/tmp"  # noqa: S108
_OUT = "counts"
_PYTHON = "root/usr/bin/python3"
# ONNX Runtime's telemetry has a thread and a data base of its own; what they allocate changes from run to run.
_ENVIRONMENT = {"ORT_DISABLE_TELEMETRY": "1"}
_CLOCK = ("-E", "LD_PRELOAD=./clock.so")
_COMPILERS = ("gcc", "cc", "clang")
_C = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden")
_CUE = "install pamc again, or report this with the versions of QEMU and of the compiler"


@dataclass(frozen=True, slots=True)
class Counted:
    """What one inference took: instructions by class, and the same for each part that was asked for, in order.

    The parts do not add up to the whole: the rest is what runs between them. ``messages`` are those of the runner; the
    times in them are no times.
    """

    classes: Mapping[str, int]
    parts: tuple[Mapping[str, int], ...]
    messages: tuple[Message, ...]


def sources() -> Path:
    """The folder of the plugin's sources: in an installed pamc a part of this package, otherwise devices/counting."""
    here = Path(__file__).resolve().parent
    return next(place for place in (here / "counting_source", here.parent / "counting") if place.is_dir())


def qemu_version() -> tuple[int, int, int]:
    """The version of the QEMU that can load plugins. Raises MissingRuntimeError when it is not on this machine."""
    command = [qemu_program("aarch64", plugins=True), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise InternalError("qemu-aarch64 does not tell its version", why=said[:200] or None, cure=_CUE)
    return int(found[1]), int(found[2]), int(found[3])


def _interface(version: tuple[int, int, int]) -> int:
    """The plugin interface to compile for: 9.0 changed it first, 9.1 how instructions are read."""
    return 1 if version < (9, 0, 0) else 2 if version < (9, 1, 0) else 3


def counter() -> Path:
    """The plugin, compiled into pamc's cache at its first use. MissingRuntimeError without QEMU or a compiler."""
    interface = _interface(qemu_version())
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise MissingRuntimeError(
            "the plugin that counts instructions has to be compiled once, and no C compiler is on this machine",
            cure="sudo apt-get install gcc libc6-dev",
        )
    files = sorted(sources().glob("*.[ch]"))
    digests = [sha256(path.read_bytes()).hexdigest() for path in files]

    def make(folder: Path) -> None:
        inputs = [str(path) for path in files if path.suffix == ".c"]
        command = [compiler, *_C, f"-DPAMC_QEMU_API={interface}", "-o", str(folder / "count.so"), *inputs]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            why = done.stderr.strip()[-2000:] or None
            raise InternalError("the plugin that counts instructions cannot be compiled", why=why, cure=_CUE)

    key = content_key(interface, os.path.basename(compiler), *digests)
    return made_once("counting", f"qemu-{interface}", key, make) / "count.so"


def _clock() -> Path:
    """The library that is the clock of counted programs, compiled into pamc's cache at its first use."""
    source, compiler = sources() / "board" / "clock.c", find_compiler(_PLATFORM)

    def make(folder: Path) -> None:
        options = ["-O2", "-fPIC", "-shared", "-o", str(folder / "clock.so")]
        compile_c(compiler, [*options, str(source)], folder)

    key = content_key(compiler.name, sha256(source.read_bytes()).hexdigest())
    return made_once("counting", "clock", key, make) / "clock.so"


@dataclass(frozen=True, slots=True)
class Workplace:
    """A folder in which programs for a board are counted; see :func:`workplace`."""

    folder: Path
    cpu: str

    def _run(self, options: Sequence[str], program: str, arguments: Sequence[str], *, plugins: bool) -> Result:
        qemu = qemu_program("aarch64", plugins=plugins)
        command = [qemu, "-cpu", self.cpu, "-seed", "1", "-L", str(self.folder / "root"), *options, program, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=_ENVIRONMENT,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOutError(
                f"{program} did not end under emulation in {_SECONDS:.0f} s", cure="count a smaller network"
            ) from error
        return Result(128 - done.returncode if done.returncode < 0 else done.returncode, done.stdout, done.stderr)

    def ask(self, command: str, *options: str) -> tuple[Message, ...]:
        """Run the runner without counting; see `deploy.Deployed.ask`."""
        return self._asked(self._run((), *self._runner(command, options), plugins=False))

    def _runner(
        self, command: str, options: Sequence[str], runtime: str = "onnxruntime"
    ) -> tuple[str, tuple[str, ...]]:
        words = (command, "bundle", *options) if command != "info" else (command,)
        if runtime == "onnxruntime":
            return "./pamc-runner", (*words, "--ort", "./libonnxruntime.so")
        return _PYTHON, (PYTHON_RUNNER.name, *words, "--runtime", runtime)

    def _asked(self, result: Result) -> tuple[Message, ...]:
        messages = read_lines(result)
        raise_failure(messages, self.cpu)
        return messages

    def count(self, task_set: str, parts: int = 0, runtime: str = "onnxruntime") -> Counted:
        """The instructions of one inference of ``task_set``, and of each of its ``parts`` kernels.

        In another ``runtime`` those of Python count as well, of which every process takes some tens more or fewer.
        Raises the errors of `messages.read_lines` and `messages.raise_failure`, and DamagedError when there are not
        that many kernels.
        """
        plugin = f"./count.so,out={_OUT}" + (f",parts={parts}" if parts else "")
        program = self._runner("bench", ("--tasks", task_set, *OPTIONS), runtime)
        messages = self._asked(self._run((*_CLOCK, "-plugin", plugin), *program, plugins=True))
        classes, found = _read((self.folder / _OUT).read_text(), parts)
        return Counted(classes, found, messages)

    def kernels(self, networks: Sequence[str]) -> list[list[str]]:
        """The kernels of ``networks``, files of the bundle, as ONNX Runtime runs them here: names, all different."""
        paths = [f"bundle/{name}" for name in networks]
        result = self._run((), _PYTHON, ("kernels.py", *paths), plugins=False)
        try:
            listed = [json.loads(line) for line in result.stdout.splitlines()]
        except ValueError:
            listed = []
        if result.status or len(listed) != len(networks):
            raise InternalError(
                "ONNX Runtime does not say which kernels it runs",
                why=result.stderr.decode("utf-8", "replace").strip()[-500:] or None,
                cure=_CUE,
            )
        return [_named(kernels) for kernels in listed]


def _named(kernels: Sequence[Sequence[object]]) -> list[str]:
    """``conv1 (FusedConv 1x28x28)``: each kernel by its name, its operator and the shape of what it makes."""
    names: list[str] = []
    for name, operator, _, made in kernels:
        assert isinstance(made, list)
        shape = ", ".join("x".join(map(str, sizes[1:])) or "1" for sizes in made)
        text = f"{name} ({operator} {shape})"
        count = sum(other == text or other.startswith(f"{text} #") for other in names)
        names.append(f"{text} #{count + 1}" if count else text)
    return names


def _read(text: str, parts: int) -> tuple[dict[str, int], tuple[dict[str, int], ...]]:
    try:
        head, *regions = [json.loads(line) for line in text.splitlines()]
        if tuple(head["classes"]) != CLASSES:
            raise ValueError("it counts other classes")
        region = next(each for each in regions if each["region"] == REGION)
        whole = dict(zip(CLASSES, region["classes"], strict=True))
        found = [dict(zip(CLASSES, counts, strict=True)) for counts in region.get("parts", ())]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise DamagedError("the counts of the plugin are cut off or garbled", why=str(error), cure=_CUE) from error
    if len(found) != parts:
        raise DamagedError(
            "the kernels of the network cannot be told apart",
            why=f"it runs {parts}, and no place in ONNX Runtime made that many calls",
            cure="count it without --per-layer",
        )
    return whole, tuple(found)


@contextmanager
def workplace(board: str, bundle: Path, files: Sequence[str]) -> Iterator[Workplace]:
    """A place to count on ``board``, one of `boardfiles.BOARDS`, in which ``files`` of a bundle lie.

    Raises DeviceErrors when something that it needs cannot be had: QEMU, a compiler, the board's root, the runner, ONNX
    Runtime.
    """
    plugin, clock, root = counter(), _clock(), board_root(board, BOARDS[board])
    runner = find_runner("aarch64", "glibc")
    library = fetch_onnxruntime(_PLATFORM)
    with TemporaryDirectory(prefix="pamc-count-", dir=_PLACE) as name:
        folder = Path(name)
        (folder / "root").symlink_to(root)
        (folder / "count.so").symlink_to(plugin)
        copies = {
            "clock.so": clock,
            "kernels.py": sources() / "board" / "kernels.py",
            PYTHON_RUNNER.name: PYTHON_RUNNER,
            "libonnxruntime.so": library,
            "pamc-runner": runner,
        }
        for target, source in {**copies, **{f"bundle/{file}": bundle / file for file in files}}.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / target)
        yield Workplace(folder, BOARDS[board].cpu)
