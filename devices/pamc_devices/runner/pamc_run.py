"""pamc-runner in Python: runs, checks and times the networks of a bundle on a device.

This file is copied to devices as it is. It needs Python 3.9, NumPy, and ai_edge_litert, tflite_runtime or onnxruntime.
Commands, lines and exit statuses are those of the runner in C; docs/embedding.md describes them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import re
import signal
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

RUNNER = "0.1.0"
USAGE, WRONG, RUNTIME, FILES = 2, 4, 5, 74
FOLDERS = {"onnxruntime": "onnx", "litert": "tflite"}
TFLITE = "tflite/model.tflite"
# As the verifier of pamc: floats may be off by 1e-4 of the largest magnitude, or by three times what the build's own
# runtime was off, where rounding alone does more. What rounding does to an int8 network is not known here, so an output
# may be off by 8 of the 255 steps that its golden values span, and by three times what the build's own runtime was off.
FLOAT_LIMIT, INT8_STEPS, TIMES_BUILT, TINY = 1e-4, 8 / 255, 3.0, 1e-12
MARK = 0x5041
WINDOW, STEADY = 10, 0.01
SECOND = 10**9
PER_LINE = 4096
DTYPES = {"F32": "<f4", "U8": "u1"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")


class Fault(Exception):
    """What ends a command: its exit status, what is wrong and why."""

    def __init__(self, status: int, what: str, why: object = "") -> None:
        super().__init__(what)
        self.status, self.what, self.why = status, what, str(why)


class Stop:
    """A signal that asked this process to end. It ends at its next step, so that no line is cut in two."""

    number = 0

    @classmethod
    def asked(cls, number: int, frame: object) -> None:
        """Take the signal; a second one ends the process."""
        signal.signal(number, signal.SIG_DFL)
        cls.number = number

    @classmethod
    def check(cls) -> None:
        """Fault after a signal."""
        if cls.number:
            raise Fault(128 + cls.number, "the runner was stopped", "a signal asked for it")


class Lines:
    """JSON lines on stdout."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, kind: str, **members: object) -> None:
        """One line; the process ends at once where it cannot be written."""
        text = json.dumps({"kind": kind, **members}, separators=(",", ":"), allow_nan=False)
        data = text.encode() + b"\n"
        try:
            while data:
                data = data[os.write(1, data) :]
        except OSError:
            os._exit(FILES)
        self.count += 1


# Files


def file_at(folder: Path, relative: object) -> Path:
    """A file that the bundle names; Fault when the name leads out of it."""
    parts = relative.split("/") if isinstance(relative, str) else [""]
    if any(part in ("", ".", "..") or "\\" in part or not part.isprintable() for part in parts):
        raise Fault(FILES, f"{folder}: the bundle names a path outside of itself")
    return folder.joinpath(*parts)


def read(path: Path) -> bytes:
    """All of a file; Fault when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(FILES, f"{path} cannot be read", error.strerror) from error


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without a key twice."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("an object has a key twice")
    return dict(pairs)


def sizes(value: object, least: int) -> tuple[int, ...]:
    """A shape from JSON."""
    if not isinstance(value, list) or not all(type(size) is int and size >= least for size in value):
        raise ValueError("a shape is malformed")
    return tuple(value)


class Manifest:
    """The tasks of the bundle in ``folder``, its input, and the file of each task set that is there."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self.folder, self.runtime = folder, runtime
        try:
            self._read(json.loads(read(folder / "manifest.json").decode("utf-8"), object_pairs_hook=once))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Fault(FILES, f"{folder}/manifest.json is damaged", error) from error

    def _read(self, data: dict[str, Any]) -> None:
        if data["schema_version"] != 1:
            raise ValueError("it is of a version that this runner does not know")
        self.numbers = str(data["numerics"]["method"])
        self.shape, self.dtype = sizes(data["input"]["shape"], 1), data["input"]["dtype"]
        if self.dtype not in ("uint8", "float32"):
            raise ValueError("its input is malformed")
        self.tasks = {task["name"]: sizes(task["shape"], 1) for task in data["tasks"]}
        if not self.tasks or not all(NAME.fullmatch(task) for task in self.tasks):
            raise ValueError("its tasks are malformed")
        self.files: dict[str, Path] = {}
        for text, entry in data["task_sets"].items():
            found = [file for file in entry["files"] if self._is_network(file)] if entry["emitted"] else []
            if found and file_at(self.folder, found[0]).is_file():
                self.files[self.canonical(text)] = file_at(self.folder, found[0])
        self.built = {
            (check["task_set"], check["output"]): float(check["max_abs"])
            for check in data.get("verification", ())
            if check["format"] == FOLDERS[self.runtime]
        }

    def _is_network(self, file: str) -> bool:
        return file == TFLITE if self.runtime == "litert" else file.startswith("onnx/") and file.endswith(".onnx")

    def canonical(self, text: str) -> str:
        """A task set in task order; Fault when it is none."""
        names = text.split("+")
        if len(set(names)) != len(names) or not set(names) <= set(self.tasks):
            raise Fault(USAGE, f"'{text[:200]}' is not a task set of the bundle", "a task set is written as a+b")
        return "+".join(task for task in self.tasks if task in names)

    def file(self, text: str) -> tuple[str, Path]:
        """A task set in task order, and the file of its network; Fault when that is not there."""
        task_set = self.canonical(text)
        if task_set not in self.files:
            raise Fault(FILES, f"{self.folder} has no network of the task set '{text}'")
        return task_set, self.files[task_set]

    def outputs(self, task_set: str) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs of a task set, with a batch of 1."""
        return {task: (1, *self.tasks[task]) for task in task_set.split("+")}


def tensors(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file."""
    import numpy as np

    data = read(path)
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > len(data) - 8:
            raise ValueError("its header is cut off")
        found, values = {}, data[8 + length :]
        for name, entry in json.loads(data[8 : 8 + length].decode("utf-8"), object_pairs_hook=once).items():
            if name != "__metadata__":
                begin, end = sizes(entry["data_offsets"], 0)
                if end > len(values):
                    raise ValueError("an entry is malformed")
                found[name] = np.frombuffer(values[begin:end], DTYPES[entry["dtype"]]).reshape(sizes(entry["shape"], 0))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise Fault(FILES, f"{path} is damaged", error) from error


# Runtimes


class OnnxRuntime:
    """Networks by the package onnxruntime."""

    name = "onnxruntime"

    def __init__(self) -> None:
        # It would keep a data base of what runs in the user's cache folder.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except Exception as error:  # whatever a broken installation raises
            raise Fault(RUNTIME, "onnxruntime cannot be imported", error) from error
        self._module: Any = onnxruntime
        self.version = str(onnxruntime.__version__)

    def load(self, path: Path, task_set: str, threads: int) -> OnnxNetwork:
        """The network of a task set."""
        options = self._module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
        if os.uname().machine == "x86_64" and b"vnni" not in read(Path("/proc/cpuinfo")):
            # Such processors add up uint8 x int8 in 16 bits, which cuts large sums off.
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            session = self._module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no other base class
            raise Fault(FILES, f"{path}: the network cannot be loaded", error) from error
        return OnnxNetwork(session)


class OnnxNetwork:
    """One task set in ONNX Runtime."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.outputs = [output.name for output in session.get_outputs()]
        self._feed: dict[str, Any] = {}

    def set_input(self, x: Any) -> None:
        """What the next runs compute."""
        self._feed = {self._session.get_inputs()[0].name: x}

    def run(self) -> None:
        """One inference."""
        self._found = self._session.run(self.outputs, self._feed)

    def answers(self) -> dict[str, Any]:
        """The outputs of the last run by task."""
        return {task: self._found[place] for place, task in enumerate(self.outputs)}


class LiteRt:
    """Networks by ai_edge_litert, or else by tflite_runtime."""

    name = "litert"

    def __init__(self) -> None:
        self._module: Any = None
        try:
            try:
                from ai_edge_litert import interpreter as module
            except ImportError:
                from tflite_runtime import interpreter as module
            self._module = module
            self.version = _version(module.__name__.split(".")[0])
        except Exception as error:  # whatever a broken installation raises
            why = f"{error}; ai_edge_litert or tflite_runtime is needed"
            raise Fault(RUNTIME, "LiteRT cannot be imported", why) from error

    def load(self, path: Path, task_set: str, threads: int) -> LiteRtNetwork:
        """The network of a task set, by itself: an interpreter prepares all that are in its file."""
        data = only(read(path), task_set, path)
        try:
            interpreter = self._module.Interpreter(model_content=data, num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise Fault(FILES, f"{path}: the network cannot be loaded", error) from error
        return LiteRtNetwork(interpreter, task_set)


class LiteRtNetwork:
    """One task set in LiteRT."""

    def __init__(self, interpreter: Any, task_set: str) -> None:
        self._interpreter = interpreter
        named = interpreter.get_signature_runner(task_set).get_output_details()
        self._places = {task: output["index"] for task, output in named.items()}
        self.outputs = list(self._places)

    def set_input(self, x: Any) -> None:
        """What the next runs compute."""
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], x)

    def run(self) -> None:
        """One inference."""
        self._interpreter.invoke()

    def answers(self) -> dict[str, Any]:
        """The outputs of the last run by task."""
        return {task: self._interpreter.get_tensor(place) for task, place in self._places.items()}


RUNTIMES: dict[str, Any] = {"onnxruntime": OnnxRuntime, "litert": LiteRt}


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package.replace("_", "-"))


class Table:
    """A table of a flatbuffer: fields by their number in the schema."""

    def __init__(self, data: bytearray, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - struct.unpack_from("<i", data, at)[0]

    def place(self, field: int) -> int | None:
        """Where a field lies; None for its default."""
        (size,) = struct.unpack_from("<H", self._data, self._vtable)
        found = struct.unpack_from("<H", self._data, self._vtable + 4 + 2 * field)[0] if 4 + 2 * field < size else 0
        return self._at + found if found else None

    def slots(self, field: int) -> tuple[int, list[int]]:
        """Of a vector of tables: where its length lies, and where each offset."""
        place = self.place(field)
        if place is None:
            raise ValueError("it has no signatures")
        vector = followed(self._data, place)
        (length,) = struct.unpack_from("<I", self._data, vector)
        if length > len(self._data) // 4:
            raise ValueError("a vector is longer than the file")
        return vector, [vector + 4 + 4 * index for index in range(length)]


def followed(data: bytearray, place: int) -> int:
    """Where the offset at ``place`` leads."""
    return place + int(struct.unpack_from("<I", data, place)[0])


def keep_one(data: bytearray, model: Table, field: int, index: int) -> None:
    """Shorten a vector of tables to one of them."""
    vector, slots = model.slots(field)
    struct.pack_into("<II", data, vector, 1, followed(data, slots[index]) - slots[0])


def only(content: bytes, task_set: str, path: Path) -> bytes:
    """A TFLite file in which the subgraph of one signature is the only one. Weights stay where they are.

    Numbers of fields are those of TFLite's schema: a model has subgraphs (2) and signatures (7), and a signature has
    its key (2) and its subgraph (4).
    """
    data = bytearray(content)
    try:
        model = Table(data, followed(data, 0))
        for index, slot in enumerate(model.slots(7)[1]):
            signature = Table(data, followed(data, slot))
            key = followed(data, signature.place(2) or 0)
            (length,) = struct.unpack_from("<I", data, key)
            if bytes(data[key + 4 : key + 4 + length]) != task_set.encode():
                continue
            place = signature.place(4)
            subgraph = struct.unpack_from("<I", data, place)[0] if place else 0
            keep_one(data, model, 2, subgraph)
            keep_one(data, model, 7, index)
            if place:
                struct.pack_into("<I", data, place, 0)
            return bytes(data)
    except (struct.error, IndexError, ValueError) as error:
        raise Fault(FILES, f"{path} is damaged", error) from error
    raise Fault(FILES, f"{path} has no network of the task set '{task_set}'")


# Commands


class Command:
    """One command with its arguments."""

    def __init__(self, asked: argparse.Namespace, lines: Lines) -> None:
        self.asked, self.lines = asked, lines

    def info(self) -> int:
        """The line comes first, even where there is no runtime: it shows that the program itself runs."""
        failure, version = None, ""
        try:
            version = RUNTIMES[self.asked.runtime]().version
        except Fault as fault:
            failure = fault
        self.lines.write(
            "info",
            runner=RUNNER,
            runtime=self.asked.runtime,
            runtime_version=version,
            machine=os.uname().machine,
            cpus=len(os.sched_getaffinity(0)),
        )
        if failure:
            raise failure
        return 0

    def _load(self, runtime: Any, manifest: Manifest, text: str) -> tuple[str, Any]:
        task_set, path = manifest.file(text)
        network = runtime.load(path, task_set, self.asked.threads)
        if sorted(network.outputs) != sorted(task_set.split("+")):
            raise Fault(FILES, f"the network of the task set '{task_set}' is another one")
        return task_set, network

    def _compute(self, network: Any) -> None:
        Stop.check()
        try:
            network.run()
        except Exception as error:  # what a runtime raises for a network that does not fit its manifest
            raise Fault(FILES, "the network does not run", error) from error

    def _start(self) -> tuple[Any, Manifest]:
        manifest = Manifest(Path(self.asked.folder), self.asked.runtime)
        return RUNTIMES[self.asked.runtime](), manifest

    def _input(self, manifest: Manifest) -> Any:
        """Zeros, or the one sample in the file asked for."""
        import numpy as np

        dtype = np.dtype(manifest.dtype).newbyteorder("<")
        if not self.asked.input:
            return np.zeros((1, *manifest.shape), manifest.dtype)
        data = read(Path(self.asked.input))
        size = math.prod(manifest.shape) * dtype.itemsize
        if len(data) != size:
            raise Fault(USAGE, f"{self.asked.input} has {len(data)} bytes, an input has {size}")
        return np.frombuffer(data, dtype).astype(manifest.dtype).reshape(1, *manifest.shape)

    def run(self) -> int:
        """One inference, from a file to files."""
        runtime, manifest = self._start()
        _, network = self._load(runtime, manifest, self.asked.tasks[0])
        x = self._input(manifest)
        try:
            network.set_input(x)
        except ValueError as error:
            raise Fault(FILES, "the network does not take the input of the manifest", error) from error
        self._compute(network)
        folder = Path(self.asked.output)
        for task, answer in network.answers().items():
            try:
                folder.mkdir(exist_ok=True)
                partial = folder / f".{task}.bin.part"
                partial.write_bytes(answer.astype("<f4").tobytes())
                partial.replace(folder / f"{task}.bin")
            except OSError as error:
                raise Fault(FILES, f"{folder}/{task}.bin cannot be written", error.strerror) from error
            self.lines.write("output", task=task, shape=list(answer.shape), file=f"{task}.bin")
        return 0

    def selftest(self) -> int:
        """Every task set against the golden vectors of the bundle."""
        runtime, manifest = self._start()
        vectors = tensors(manifest.folder / "vectors.safetensors")
        wanted = self.asked.tasks or list(manifest.files)
        if not wanted:
            raise Fault(FILES, f"{manifest.folder} has no networks")
        good = [self._check(runtime, manifest, text, vectors) for text in wanted]
        return 0 if all(good) else WRONG

    def _check(self, runtime: Any, manifest: Manifest, text: str, vectors: dict[str, Any]) -> bool:
        import numpy as np

        task_set, network = self._load(runtime, manifest, text)
        given = vectors.get("input")
        if given is None or given.shape[1:] != manifest.shape or given.dtype != manifest.dtype or not len(given):
            raise Fault(FILES, "the test vectors have no proper input")
        found: dict[str, list[Any]] = {task: [] for task in manifest.outputs(task_set)}
        for sample in range(len(given)):
            network.set_input(given[sample : sample + 1])
            self._compute(network)
            for task, answer in network.answers().items():
                found[task].append(answer)
        good = True
        for task, shape in manifest.outputs(task_set).items():
            wanted = vectors.get(f"output:{task}")
            if wanted is None or wanted.shape != (len(given), *shape[1:]):
                raise Fault(FILES, f"the test vectors lack output:{task}")
            good &= self._report(manifest, task_set, task, np.concatenate(found[task]), wanted)
        return good

    def _report(self, manifest: Manifest, task_set: str, task: str, found: Any, wanted: Any) -> bool:
        import numpy as np

        if found.shape != wanted.shape:
            raise Fault(FILES, f"the network answers {task} in another shape")
        apart = float(np.abs(found.astype("f8") - wanted.astype("f8")).max())
        largest = max(float(np.abs(wanted).max()), TINY)
        built = TIMES_BUILT * manifest.built.get((task_set, task), 0.0) / largest
        limit = max(FLOAT_LIMIT, built)
        if manifest.numbers == "int8":
            span = max(float(wanted.max()), 0.0) - min(float(wanted.min()), 0.0)
            limit = INT8_STEPS * span / largest + built
        error = apart / largest if math.isfinite(apart) else None
        good = error is not None and error <= limit
        self.lines.write("checked", task_set=task_set, task=task, error=error, limit=limit, ok=good)
        return good

    def bench(self) -> int:
        """One task set, every time kept."""
        if self.asked.cpus is not None:
            pin(self.asked.cpus)
        runtime, manifest = self._start()
        clock = Clock()
        begin = clock.read()
        task_set, network = self._load(runtime, manifest, self.asked.tasks[0])
        load = clock.read() - begin
        network.set_input(self._input(manifest))
        start = clock.read()
        self._compute(network)
        self.lines.write("loaded", task_set=task_set, load_ns=load, first_ns=clock.read() - start)
        # Python's collector would stop runs at times of its own.
        gc.disable()
        self._warm_up(network, clock)
        starts, times = self._measure(network, clock)
        for at in range(0, len(times), PER_LINE):
            part = slice(at, at + PER_LINE)
            self.lines.write(
                "samples", task_set=task_set, start_ns=[it - starts[0] for it in starts[part]], ns=times[part]
            )
        most, now = memory()
        self.lines.write("memory", vm_hwm_kib=most, vm_rss_kib=now)
        return 0

    def _warm_up(self, network: Any, clock: Clock) -> None:
        """Run until the least is done and the median of ten runs is that of the ten before, or the time is up."""
        asked, run, window, runs, before, steady = self.asked, network.run, [0] * WINDOW, 0, math.inf, False
        begin = clock.read()
        while True:
            passed = clock.last - begin
            if runs >= asked.warmup_runs:
                if passed >= asked.warmup_max_seconds * SECOND:
                    break
                if steady and passed >= asked.warmup_seconds * SECOND:
                    break
            Stop.check()
            start = clock.read()
            run()
            window[runs % WINDOW] = clock.read() - start
            runs += 1
            if runs % WINDOW == 0:
                now = statistics.median(window)
                steady, before = abs(now - before) < STEADY * before < math.inf, now
        self.lines.write("warm", runs=runs, ns=clock.last - begin, steady=steady)

    def _measure(self, network: Any, clock: Clock) -> tuple[list[int], list[int]]:
        asked, run, read_clock = self.asked, network.run, clock.read
        mark = ctypes.CDLL(None).syscall if asked.marks else None
        starts: list[int] = []
        times: list[int] = []
        begin = clock.read()
        while True:
            passed = clock.last - begin
            least = len(times) >= asked.min_runs and passed >= asked.min_seconds * SECOND
            if times and (least or passed >= asked.max_seconds * SECOND):
                return starts, times
            Stop.check()
            start = read_clock()
            if mark:
                mark(MARK, 1, len(times))
            run()
            if mark:
                mark(MARK, 2, len(times))
            times.append(read_clock() - start)
            starts.append(start)


class Clock:
    """CLOCK_MONOTONIC_RAW in nanoseconds, which nothing adjusts."""

    def __init__(self) -> None:
        self.last = 0

    def read(self) -> int:
        """The time now; Fault when the clock went backwards."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        if now < self.last:
            raise Fault(RUNTIME, "the clock went backwards", "its times would be wrong")
        self.last = now
        return now


def pin(text: str) -> None:
    """Keep this process on the processors of a list such as 0-3,5."""
    wanted: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise Fault(USAGE, f"'{text}' is no list of processors", "write processors as 0-3,5")
        wanted |= set(range(first, last + 1))
    try:
        os.sched_setaffinity(0, wanted)
        why = "some are offline or not given to this process"
    except (OSError, ValueError) as error:
        why = str(error)
    if os.sched_getaffinity(0) != wanted:
        raise Fault(USAGE, f"the processors {text} cannot be used", why)


def memory() -> tuple[int, int]:
    """VmHWM and VmRSS in KiB: the most memory that was ever resident, and what is now."""
    text = read(Path("/proc/self/status")).decode()
    found = [re.search(rf"^{name}:\s+([0-9]+) kB$", text, re.MULTILINE) for name in ("VmHWM", "VmRSS")]
    if not found[0] or not found[1]:
        raise Fault(RUNTIME, "the resident memory is not known", "/proc/self/status does not say")
    return int(found[0][1]), int(found[1][1])


# Command line


class Parser(argparse.ArgumentParser):
    """A parser whose errors are lines as all others."""

    def error(self, message: str) -> NoReturn:
        raise Fault(USAGE, message)


def count(least: int) -> Any:
    """A whole number of at least ``least``."""

    def whole(text: str) -> int:
        if not re.fullmatch("[0-9]{1,8}", text) or int(text) < least:
            raise ValueError
        return int(text)

    return whole


def seconds(text: str) -> float:
    """A time of at most a day."""
    value = float(text)
    if not 0 <= value <= 86400:
        raise ValueError
    return value


def parser() -> Parser:
    """The command line."""
    found = Parser(prog="pamc_run.py", allow_abbrev=False)
    commands = found.add_subparsers(dest="command", required=True, parser_class=Parser)
    for name in ("info", "run", "selftest", "bench"):
        command = commands.add_parser(name, allow_abbrev=False)
        command.add_argument("--runtime", choices=[*RUNTIMES], default="onnxruntime")
        if name == "info":
            continue
        command.add_argument("folder")
        command.add_argument("--tasks", action="append", default=[], required=name != "selftest")
        command.add_argument("--threads", type=count(1), default=1)
        if name == "run":
            command.add_argument("--output", required=True)
        if name != "selftest":
            command.add_argument("--input", required=name == "run")
        if name == "bench":
            command.add_argument("--cpus")
            command.add_argument("--min-runs", type=count(1), default=100)
            command.add_argument("--warmup-runs", type=count(0), default=5)
            for option, default in (("min", 3.0), ("max", 60.0), ("warmup", 1.0), ("warmup-max", 30.0)):
                command.add_argument(f"--{option}-seconds", type=seconds, default=default)
            command.add_argument("--marks", action="store_true")
    return found


def execute(arguments: list[str], lines: Lines) -> int:
    """One command. Raises Fault."""
    asked = parser().parse_args(arguments)
    if asked.command in ("run", "bench") and len(asked.tasks) != 1:
        raise Fault(USAGE, f"{asked.command} needs --tasks once")
    status: int = getattr(Command(asked, lines), asked.command)()
    return status


def main(arguments: list[str]) -> int:
    """Run one command and say how it ended; the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, Stop.asked)
    lines = Lines()
    try:
        status = execute(arguments, lines)
    except Fault as fault:
        status = fault.status
        lines.write("error", what=fault.what, why=fault.why)
    except MemoryError:
        status = RUNTIME
        lines.write("error", what="memory is exhausted", why="")
    lines.write("end", lines=lines.count, status=status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
