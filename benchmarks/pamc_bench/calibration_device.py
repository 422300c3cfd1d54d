"""Measuring what operations take on a device: the grid as one deployment, a process of its runner for every network.

The processes run in rounds, all networks once a round in an order drawn by lot, and the median over the rounds counts.
Their clock is wall time: a runner tells no other. What was sent is taken off the device again, however it ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pamc.errors import ConfigError, DeviceError, OutputError
from pamc.export import Exporter
from pamc.graph import Graph
from pamc.progress import Progress
from pamc_bench.calibration import NS, Fit, file_stem, fit_costs, kernels_of, task_set_of, write_network
from pamc_bench.cost_grid import cost_grid
from pamc_bench.preflight import doubts_after, doubts_before, refuse_unstable
from pamc_bench.results import Block, Conditions, Key, Protocol
from pamc_bench.rounds import Measured, block_of, measure_rounds
from pamc_bench.station import Programs, bench_options, conditions_of, cpus_of, time_limit, version_of
from pamc_bench.stats import block_variation
from pamc_devices.base import Device
from pamc_devices.deploy import Deployed, deploy, discard
from pamc_devices.deployment import Deployment, Parcel, Program, entry_of
from pamc_devices.failures import last_words
from pamc_devices.find import opened
from pamc_devices.info import DeviceInfo
from pamc_devices.lock import locked
from pamc_devices.probe import probe
from pamc_devices.programs import program_for
from pamc_devices.runner import bare_manifest
from pamc_devices.states import CommandError, NoSpaceError

__all__ = [
    "NAME",
    "ROUNDS",
    "Calibrated",
    "Settings",
    "calibrate_device",
    "measure_grid",
    "pack_grid",
    "unwritable",
    "write_bundle",
]

NAME = "calibration"
"""What the deployment is called on the device. No pointer of its store ever names it."""
ROUNDS = 3
# Short blocks: hundreds of networks, most of which take less than a millisecond.
BLOCK = Protocol(
    blocks=ROUNDS,
    min_runs=20,
    min_seconds=0.02,
    max_seconds=0.5,
    warmup_runs=5,
    warmup_seconds=0.01,
    warmup_max_seconds=0.2,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure. ``cores`` are those of `request.parse_cpus`; None takes the big ones where a device has kinds."""

    runtime: str
    rounds: int = ROUNDS
    cores: str | None = None
    allow_unstable: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, should be at least 1")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The fit, and the device with its runtime as the name of a file: the same at every address of that device."""

    fit: Fit
    identity: str


def calibrate_device(
    url: str,
    exporter: Exporter,
    settings: Settings,
    progress: Progress,
    *,
    quick: bool = False,
    choose: Programs = program_for,
) -> Calibrated:
    """Measure the grid on the device at ``url``, locked meanwhile, in one thread, and fit the prices.

    Raises ConfigError for an emulated device and for kernels that are not known, UnstableError for a device whose times
    would be wrong, and the states of `pamc_devices.states`.
    """
    with opened(url) as device:
        _refuse_emulated(device.emulated, url)
        with locked(device, "pamc calibrate"):
            info = probe(device)
            _refuse_emulated(info.emulated, url)
            return measure_grid(device, info, dict(cost_grid(quick)), exporter, settings, progress, choose=choose)


def _refuse_emulated(emulated: bool, url: str) -> None:
    if emulated:
        raise ConfigError(
            "the times of an emulated device are those of its emulator, so nothing can be calibrated by them",
            where=url,
            cure="name a real device; for prices by counted instructions name the board by itself: emulated://rpi4",
        )


def measure_grid(
    device: Device,
    info: DeviceInfo,
    graphs: Mapping[str, Graph],
    exporter: Exporter,
    settings: Settings,
    progress: Progress,
    *,
    choose: Programs = program_for,
) -> Calibrated:
    """Measure ``graphs`` on a device of which the caller holds the lock. Costs of an emulated one say so."""
    machine = info.abi or info.machine or "unknown"
    kernels = kernels_of(settings.runtime, machine)
    cpus = cpus_of(info, settings.cores or ("big" if info.little_cores else "all"))
    doubts = () if info.emulated else doubts_before(conditions_of(info, 0.0), max(1, len(info.cores)))
    if not settings.allow_unstable:
        refuse_unstable(doubts, info.url)
    for doubt in doubts:
        progress.note(f"{info.url}: {doubt} ({doubt.cure})")
    program = choose(info, settings.runtime)
    with TemporaryDirectory(prefix="pamc-calibrate-") as folder:
        with progress.stage("write", f"{len(graphs)} networks"):
            parcel = pack_grid(Path(folder), graphs, exporter, machine, program)
        with _on_device(device, parcel, progress) as deployed:
            runtime = f"{settings.runtime} {version_of(deployed)}"
            measured = _measure(deployed, info, graphs, settings, cpus, progress)
    times = {key.bundle: median(median(block.ns) for block in blocks) / NS for key, blocks in measured.blocks.items()}
    after = () if info.emulated else doubts_after((), measured.conditions)
    for finding in after:
        progress.note(f"{info.url}: {finding}")
    findings = [*map(str, doubts), *after]
    fit = fit_costs(settings.runtime, _how(info, runtime, cpus, measured, findings), kernels, graphs, times)
    return Calibrated(fit, file_stem(runtime, info.model, info.soc, *_parts(info, cpus)))


def pack_grid(folder: Path, graphs: Mapping[str, Graph], exporter: Exporter, machine: str, program: Program) -> Parcel:
    """The networks, written to the empty ``folder``, as one deployment with ``program``.

    Network n is a bundle of its own in ``bundle/<n>``, with the little of a manifest that a runner reads, because one
    manifest has one shape of input. Raises OutputError when a file cannot be written.
    """
    sources: dict[str, Path] = {f"program/{name}": path for name, path in program.files.items()}
    try:
        for number, graph in enumerate(graphs.values()):
            place = folder / str(number)
            sources |= {
                f"bundle/{number}/{name}": place / name for name in write_bundle(place, graph, exporter, machine)
            }
        entries = {path: entry_of(source) for path, source in sources.items()}
    except OSError as error:
        raise unwritable(error) from error
    sets = tuple(dict.fromkeys(map(task_set_of, graphs.values())))
    return Parcel(Deployment(NAME, program.runtime, sets, program.command, program.options, entries), sources)


def write_bundle(folder: Path, graph: Graph, exporter: Exporter, machine: str) -> tuple[str, ...]:
    """Write a network of the grid into the new ``folder``, with the little of a manifest that a runner reads.

    Returns the names of its files. Raises OSError when one cannot be written.
    """
    write_network(exporter, graph, machine, folder / exporter.name)
    files = tuple(f"{exporter.name}/{name}" for name in exporter.files(task_set_of(graph)))
    outputs = {task: graph.shapes[value] for task, value in graph.outputs.items()}
    manifest = bare_manifest(graph.shapes["x"], "float32", outputs, files)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")
    return ("manifest.json", *files)


def unwritable(error: OSError) -> OutputError:
    """The error of a network of the grid that cannot be written."""
    return OutputError(
        f"the networks cannot be written: {error.strerror}", where=str(error.filename), cure="make room there"
    )


@contextmanager
def _on_device(device: Device, parcel: Parcel, progress: Progress) -> Iterator[Deployed]:
    """The deployment, on the device as long as the context lasts."""
    wanted = parcel.deployment
    steps = len({entry.sha256 for entry in wanted.all_files.values()}) + 1
    try:
        with progress.stage("send", device.url), progress.track(steps, "send") as bar:
            made = deploy(device, parcel, switch=False, prove=False, note=lambda text: bar.advance(1, text))
        yield made.deployed
    except BaseException as error:
        if isinstance(error, NoSpaceError):
            error.cure = (
                "free some space there, such as by `pamc deploy --prune`, or measure the small grid with --quick"
            )
        # The first error is the one to report.
        with suppress(DeviceError):
            discard(device, wanted)
        raise
    discard(device, wanted)


def _measure(
    deployed: Deployed,
    info: DeviceInfo,
    graphs: Mapping[str, Graph],
    settings: Settings,
    cpus: str | None,
    progress: Progress,
) -> Measured:
    """The blocks of every network; the name of a network is the bundle of its key. Raises DeviceError."""
    start = time.monotonic()
    protocol = replace(BLOCK, blocks=settings.rounds, max_blocks=max(settings.rounds, BLOCK.max_blocks))
    limit = time_limit(info, protocol.max_seconds + protocol.warmup_max_seconds)
    keys = {
        Key(info.url, name, task_set_of(graph), settings.runtime, 1, cpus): f"bundle/{number}"
        for number, (name, graph) in enumerate(graphs.items())
    }

    def run(key: Key, round: int) -> Block:
        began = time.monotonic() - start
        lines = replace(deployed, bundle=keys[key]).ask("bench", *bench_options(key, protocol), timeout=limit)
        return block_of(lines, key.task_set, round, began)

    def conditions() -> Conditions:
        return conditions_of(probe(deployed.device), time.monotonic() - start)

    with (
        progress.stage("measure", f"{len(keys)} networks, {settings.rounds} rounds"),
        progress.track(len(keys) * settings.rounds, "measure") as bar,
    ):
        measured = measure_rounds(
            tuple(keys),
            run,
            conditions,
            protocol,
            device=info.url,
            seed=0,
            pairs=(),
            sleep=time.sleep,
            on_block=lambda key, block: bar.advance(1, key.bundle),
        )
    if measured.failure is not None:
        if cpus is not None and isinstance(measured.failure, CommandError):
            measured.failure.cure = "where it cannot use these cores, name others or use --cores all"
        raise measured.failure
    return measured


def _parts(info: DeviceInfo, cpus: str | None) -> tuple[str, ...]:
    """What kinds of cores measured: of all, or of the clusters that ``cpus`` were taken from."""
    clusters = [c for c in info.clusters if cpus is None or set(c.cores) & _numbers(cpus)]
    return tuple(dict.fromkeys(cluster.part for cluster in clusters if cluster.part))


def _numbers(cpus: str) -> set[int]:
    ends = [part.partition("-") for part in cpus.split(",")]
    return {number for first, _, last in ends for number in range(int(first), int(last or first) + 1)}


def _how(info: DeviceInfo, runtime: str, cpus: str | None, measured: Measured, findings: list[str]) -> str:
    """How it was measured, in one line: the device, the runtime, the clock, and what speaks against the times."""
    cores = [f"{len(cluster.cores)} x {cluster.part or 'unknown'}" for cluster in info.clusters]
    governors = f"governor {'/'.join(info.governors)}" if info.governors else "governor not readable"
    device = [info.model, info.soc, *cores, governors, info.system, info.kernel, info.abi, runtime]
    spread = median(block_variation([median(block.ns) for block in blocks]) for blocks in measured.blocks.values())
    rounds = max(map(len, measured.blocks.values()))
    blocks = f"median of {rounds} processes, which vary by {spread:.1%}" if rounds > 1 else "one process each"
    threads = "one thread" + (f" on CPUs {cpus}" if cpus else "")
    parts = [
        *(["EMULATED, no device's times"] if info.emulated else []),
        ", ".join(dict.fromkeys(last_words(part) or "" for part in filter(None, device))),
        f"wall time, {threads}, {blocks}",
        *([f"UNSTABLE: {last_words(', '.join(findings))}"] if findings else []),
    ]
    return "; ".join(parts)
