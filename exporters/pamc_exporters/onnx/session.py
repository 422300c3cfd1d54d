"""Models opened by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OnnxSession", "open_session"]

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_FATAL = 4
# Known since ONNX Runtime 1.21; a model in memory has no folder of its own.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class OnnxSession:
    """One task set, loaded. ``shape`` and ``dtype`` are what one sample must have."""

    def __init__(self, session: Any) -> None:
        self._session = session
        (source,) = session.get_inputs()
        self._input = source.name
        self.shape: tuple[int, ...] = tuple(source.shape[1:])
        self.dtype = _DTYPES[source.type]
        self.outputs: tuple[str, ...] = tuple(output.name for output in session.get_outputs())

    def _check(self, x: NDArray[np.generic]) -> None:
        wanted = f"({', '.join(map(str, ('n', *self.shape)))}) {self.dtype}"
        if not isinstance(x, np.ndarray):
            raise ConfigError(f"the input is {type(x).__name__}, expected a NumPy array {wanted}")
        if x.dtype != self.dtype or x.shape[1:] != self.shape or x.ndim == 0 or len(x) == 0:
            raise ConfigError(
                f"the input has shape {x.shape} and dtype {x.dtype}, expected {wanted}",
                cure=f"convert it with x.astype('{self.dtype}')" if x.dtype != self.dtype else None,
            )

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Outputs by task for a batch ``(n, *shape)`` with ``n`` at least 1. ConfigError for any other input."""
        self._check(x)
        return dict(zip(self.outputs, self._session.run(None, {self._input: x}), strict=True))


def open_session(model: Path | bytes, directory: Path, threads: int) -> OnnxSession:
    """A session over a file, or over a model in memory whose weights are in ``directory``.

    Raises OutputError when ONNX Runtime cannot load it, and ConfigError for fewer threads than one.
    """
    if threads < 1:
        raise ConfigError(f"an inference needs at least one thread, not {threads}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Errors are raised as well; logging them would say everything twice.
    options.log_severity_level = _FATAL
    if isinstance(model, bytes):
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(directory.resolve()))
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return OnnxSession(session)
    except Exception as error:  # ONNX Runtime's exceptions share no other base class
        raise OutputError(
            f"ONNX Runtime cannot load the network: {error}",
            where=str(directory if isinstance(model, bytes) else model),
            cure="copy or build the bundle again",
        ) from error
