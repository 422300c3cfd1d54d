"""Models opened by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pamc.errors import ConfigError, OutputError
from pamc_exporters.interface import check_batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MaskedSession", "OnnxSession", "open_session", "start"]

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_FATAL = 4
_CPUINFO = Path("/proc/cpuinfo")
# Known since ONNX Runtime 1.21; a model in memory has no folder of its own.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_NO_COPIES = "session.disable_prepacking"
_EXACT_ON_OLD_X86 = "session.x64quantprecision"


class OnnxSession:
    """One task set, loaded. ``shape`` and ``dtype`` are what one sample must have; ``keep`` is held while it lives."""

    def __init__(self, session: Any, keep: object = None) -> None:
        self._session = session
        self._keep = keep
        source = session.get_inputs()[0]
        self._input = source.name
        self.shape: tuple[int, ...] = tuple(source.shape[1:])
        self.dtype = _DTYPES[source.type]
        self.outputs: tuple[str, ...] = tuple(output.name for output in session.get_outputs())

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Outputs by task for a batch ``(n, *shape)`` with ``n`` at least 1. ConfigError for any other input."""
        check_batch(x, self.shape, self.dtype)
        return dict(zip(self.outputs, self._session.run(None, {self._input: x}), strict=True))


class MaskedSession(OnnxSession):
    """One request to a model of many task sets. ``run`` gives the tasks that the model answered."""

    def __init__(self, session: Any, mask: NDArray[np.bool_]) -> None:
        super().__init__(session)
        self._mask = {session.get_inputs()[1].name: mask}

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Outputs by task, without those that have no rows. ConfigError for another input than one task set takes."""
        check_batch(x, self.shape, self.dtype)
        found = self._session.run(None, {self._input: x, **self._mask})
        return {task: output for task, output in zip(self.outputs, found, strict=True) if len(output)}


@cache
def _sums_overflow() -> bool:
    """Whether this machine may add up uint8 x int8 in 16 bits, which cuts large sums off: x86 without VNNI."""
    try:
        return "vnni" not in _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True


def start(model: Path | bytes, directory: Path, threads: int, tensors: Mapping[str, Any] | None = None) -> Any:
    """An ONNX Runtime session over a file, or over a model in memory whose weights are in ``directory``.

    ``tensors`` (OrtValues by name) take the place of the model's own; the caller keeps them alive. The session then
    runs without kernels that would copy them into a layout of their own. Raises OutputError when ONNX Runtime cannot
    load it, and ConfigError for fewer threads than one.
    """
    if threads < 1:
        raise ConfigError(f"an inference needs at least one thread, not {threads}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Errors are raised as well; logging them would say everything twice.
    options.log_severity_level = _FATAL
    if _sums_overflow():
        options.add_session_config_entry(_EXACT_ON_OLD_X86, "1")
    if isinstance(model, bytes):
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(directory.resolve()))
    if tensors is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry(_NO_COPIES, "1")
        for name, value in tensors.items():
            options.add_initializer(name, value)
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no other base class
        raise OutputError(
            f"ONNX Runtime cannot load the network: {error}",
            where=str(directory if isinstance(model, bytes) else model),
            cure="copy or build the bundle again",
        ) from error


def open_session(model: Path | bytes, directory: Path, threads: int) -> OnnxSession:
    """One task set, opened by :func:`start`."""
    return OnnxSession(start(model, directory, threads))
