"""Prices without a board: the grid's instructions, counted on an `emulated://` board, as the least time they can take.

Such prices are no measurement. The estimate (`counts_estimate`) leaves caches and waiting out, which slow the many
branches of a runtime down more than the loops of its kernels. So what an operation costs besides its arithmetic comes
out too low, never too high, and folds that pay by these prices should pay on a board.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc.errors import InternalError
from pamc.export import Exporter
from pamc.graph import Graph
from pamc.progress import Progress
from pamc_bench.calibration import PACKAGES, file_stem, fit_costs, kernels_of, task_set_of
from pamc_bench.calibration_device import Calibrated, unwritable, write_bundle
from pamc_bench.cost_grid import cost_grid
from pamc_bench.counts_estimate import least_ms
from pamc_devices.boardfiles import BOARDS, Board
from pamc_devices.counting import qemu_version, workplace
from pamc_devices.wheels import ARM64_WHEELS

__all__ = ["calibrate_counted", "count_grid"]

MACHINE = "aarch64"
PINNED = {runtime: next(wheel for wheel in ARM64_WHEELS if wheel.name == name) for runtime, name in PACKAGES.items()}


def calibrate_counted(
    board: str, runtime: str, exporter: Exporter, progress: Progress, *, quick: bool = False
) -> Calibrated:
    """Count the grid on ``board``, one of `boardfiles.BOARDS`, and fit the prices of ``runtime`` to the estimates.

    Raises the DeviceErrors of `counting.workplace`.
    """
    graphs = dict(cost_grid(quick))
    seconds = count_grid(board, runtime, graphs, exporter, progress)
    what = f"{runtime} {PINNED[runtime].version}"
    fit = fit_costs(runtime, _how(BOARDS[board], what), kernels_of(runtime, MACHINE), graphs, seconds)
    return Calibrated(fit, file_stem("counted", what, BOARDS[board].cpu))


def count_grid(
    board: str, runtime: str, graphs: Mapping[str, Graph], exporter: Exporter, progress: Progress
) -> dict[str, float]:
    """The least seconds that one inference of each of ``graphs`` takes on ``board``.

    Those of LiteRT hold some microseconds of Python, the same for all networks but for some tens of instructions.
    """
    with progress.stage("count", f"{len(graphs)} networks"), progress.track(len(graphs), "count") as bar:
        seconds: dict[str, float] = {}
        for name, graph in graphs.items():
            seconds[name] = _least_seconds(board, runtime, graph, exporter)
            bar.advance(1, name)
    return seconds


def _least_seconds(board: str, runtime: str, graph: Graph, exporter: Exporter) -> float:
    with TemporaryDirectory(prefix="pamc-calibrate-") as name:
        folder = Path(name) / "bundle"
        try:
            files = write_bundle(folder, graph, exporter, MACHINE)
        except OSError as error:
            raise unwritable(error) from error
        with workplace(board, folder, files) as place:
            classes = place.count(task_set_of(graph), runtime=runtime).classes
    found = least_ms(classes, BOARDS[board].cpu, BOARDS[board].megahertz)
    if found is None:
        raise InternalError(f"nothing estimates times of a {BOARDS[board].cpu}")
    return found / 1e3


def _how(board: Board, what: str) -> str:
    tool = f"qemu-aarch64 {'.'.join(map(str, qemu_version()))}"
    return (
        f"ESTIMATED, no times: instructions of {what} counted by {tool}, one thread, as the least time that a "
        f"{board.cpu} at {board.megahertz} MHz can take for them"
    )
