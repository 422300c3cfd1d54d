"""Counting the instructions of one inference on `emulated://` devices: exact, for every task set, by kernel if asked.

Files of an emulated board are this machine's, so nothing is deployed. One process for each variant counts; its times
are those of the emulator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from pamc.bundle import Bundle
from pamc.errors import ConfigError, InternalError, VerificationError
from pamc_bench.fleet import Station
from pamc_bench.request import Request, files_of
from pamc_bench.results import Block, Conditions, Counts, DeviceEntry, Key, Memory, Protocol, Result
from pamc_bench.rounds import block_of
from pamc_bench.station import open_station
from pamc_devices.boardfiles import Board
from pamc_devices.counting import Workplace, qemu_version, workplace
from pamc_devices.debian import SUITE
from pamc_devices.emulated import EmulatedDevice
from pamc_devices.find import opened
from pamc_devices.messages import Checked
from pamc_devices.runner.fetch import WHEELS

__all__ = ["OUTSIDE", "Counting", "check_counting"]

RUNTIME = "onnxruntime"
OUTSIDE = "outside of the kernels"
"""What a layer is called that holds the instructions between the kernels, so that the layers add up to the whole."""
_COMMON = ("manifest.json", "vectors.safetensors")


def check_counting(urls: Sequence[str], request: Request) -> None:
    """Raise ConfigError for what cannot be counted exactly."""
    if not any(url.startswith("emulated://") for url in urls):
        cure = "add --device emulated://rpi4; `pamc devices` lists the boards"
        raise ConfigError("instructions are counted on emulated devices", where="--counts", cure=cure)
    if request.runtimes != (RUNTIME,):
        raise ConfigError(
            f"instructions are counted in {RUNTIME} alone",
            where="--counts",
            why="other runtimes run in Python there, whose own instructions differ from run to run",
            cure=f"use --runtime {RUNTIME}",
        )
    if request.threads != (1,):
        raise ConfigError(
            "instructions are counted with one thread",
            where="--counts",
            why="threads that wait for each other count as well, and how long they wait is chance",
            cure="use --threads 1",
        )


@dataclass(slots=True)
class Counting:
    """Opens stations for `fleet.measure_fleet`. Those of emulated boards keep what they counted in ``found``.

    With ``per_layer`` every kernel is counted too.
    """

    per_layer: bool = False
    found: dict[Key, Counts] = field(default_factory=dict)

    @contextmanager
    def open(self, url: str, request: Request) -> Iterator[Station]:
        """The station at ``url``: one that counts for an emulated board, else the one that `station` opens."""
        with ExitStack() as stack:
            device = stack.enter_context(opened(url))
            if isinstance(device, EmulatedDevice):
                yield stack.enter_context(self._counting(device, request))
            else:
                yield stack.enter_context(open_station(url, request))

    @contextmanager
    def _counting(self, device: EmulatedDevice, request: Request) -> Iterator[Station]:
        with ExitStack() as stack:
            places = {
                name: stack.enter_context(workplace(device.name, bundle.path, _files(bundle, request.task_sets)))
                for name, bundle in request.bundles.items()
            }
            layers: dict[tuple[str, str], list[str]] = {}
            for name, place in places.items():
                _prove(place, request.task_sets, device.url)
                if self.per_layer:
                    networks = [f"onnx/{text}.onnx" for text in request.task_sets]
                    for text, kernels in zip(request.task_sets, place.kernels(networks), strict=True):
                        layers[name, text] = kernels
            yield _CountingStation(device.url, device.board, places, layers, self.found)

    def add_to(self, result: Result) -> Result:
        """``result`` with the counts of every variant that was counted."""
        variants = (replace(variant, counts=self.found.get(variant.key)) for variant in result.variants)
        return replace(result, variants=tuple(variants))


def _files(bundle: Bundle, task_sets: Sequence[str]) -> list[str]:
    return [*_COMMON, *dict.fromkeys(name for text in task_sets for name in files_of(bundle, text, RUNTIME))]


def _prove(place: Workplace, task_sets: Sequence[str], url: str) -> None:
    """Run every task set on the golden vectors. VerificationError when an output is too far off."""
    messages = place.ask("selftest", *(word for text in task_sets for word in ("--tasks", text)))
    found = {(line.task_set, line.task) for line in messages if isinstance(line, Checked)}
    if found != {(text, task) for text in task_sets for task in text.split("+")}:
        raise VerificationError("the self-test did not answer for just the outputs of the bundle", where=url)


class _CountingStation:
    """An emulated board on which every block is a counted process."""

    def __init__(
        self,
        url: str,
        board: Board,
        places: Mapping[str, Workplace],
        layers: Mapping[tuple[str, str], Sequence[str]],
        found: dict[Key, Counts],
    ) -> None:
        self._url, self._board, self._places, self._layers, self._found = url, board, places, layers, found
        self._tool = f"qemu-aarch64 {'.'.join(map(str, qemu_version()))}"

    def entry(self) -> DeviceEntry:
        """What the board is."""
        board = self._board
        return DeviceEntry(
            model=board.model,
            machine="aarch64",
            emulated=True,
            system=f"Debian {SUITE}, {self._tool} -cpu {board.cpu}",
            cpus=len(board.cores),
            details={"cpu": board.cpu, "megahertz": board.megahertz},
            conditions=(),
        )

    def conditions(self, seconds: float) -> Conditions:
        """None: nothing about the emulator changes a count."""
        return Conditions(seconds)

    def cpus(self, cores: str) -> str | None:
        """None, for ``all``. ConfigError for other cores."""
        if cores != "all":
            raise ConfigError("an emulated processor has no cores to choose from", where=self._url, cure="--cores all")
        return None

    def version(self, runtime: str) -> str:
        """The version of ONNX Runtime."""
        return WHEELS["linux-aarch64"].wheel.version

    def block(self, key: Key, protocol: Protocol, round: int, seconds: float) -> Block:
        """Count one variant. The protocol is that of counting, always the same."""
        names = self._layers.get((key.bundle, key.task_set), ())
        counted = self._places[key.bundle].count(key.task_set, len(names))
        layers = dict(zip(names, counted.parts, strict=True))
        if layers:
            within = {name: sum(part[name] for part in counted.parts) for name in counted.classes}
            layers[OUTSIDE] = {name: count - within[name] for name, count in counted.classes.items()}
        self._found[key] = Counts(counted.classes, self._tool, self._board.cpu, layers)
        return block_of(counted.messages, key.task_set, round, seconds)

    def memory(self, key: Key) -> Memory:
        """InternalError: the memory of an emulator is not that of a board, so nobody may ask."""
        raise InternalError(f"the memory of {self._url} was asked for")
