"""Task sets opened by LiteRT's interpreter, with its XNNPACK kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pamc.errors import ConfigError, OutputError
from pamc_exporters.interface import check_batch
from pamc_exporters.tflite.encode import encode
from pamc_exporters.tflite.model import Model
from pamc_exporters.tflite.schema import interpreter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TfliteSession", "open_session"]


class TfliteSession:
    """One task set, loaded. ``shape`` and ``dtype`` are what one sample must have.

    The samples of a batch run one after another: the file has a batch of 1, as a device feeds it, so no output
    depends on the batch that a sample came in, and no new size makes the interpreter plan and pack again.
    """

    def __init__(self, runner: Any, outputs: Sequence[str]) -> None:
        self._runner = runner
        # An interpreter holds one input at a time.
        self._lock = Lock()
        (source,) = runner.get_input_details()
        self._input = source["index"]
        self._places = [found["index"] for found in runner.get_output_details()]
        self.shape: tuple[int, ...] = tuple(map(int, source["shape"][1:]))
        self.dtype = np.dtype(source["dtype"]).name
        self.outputs = tuple(outputs)

    def run(self, x: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """Outputs by task for a batch ``(n, *shape)`` with ``n`` at least 1. ConfigError for any other input."""
        check_batch(x, self.shape, self.dtype)
        with self._lock:
            samples = [self._sample(x[index : index + 1]) for index in range(len(x))]
        return {
            name: np.concatenate(found) for name, found in zip(self.outputs, zip(*samples, strict=True), strict=True)
        }

    def _sample(self, x: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        self._runner.set_tensor(self._input, x)
        self._runner.invoke()
        return [self._runner.get_tensor(place) for place in self._places]


def open_session(model: Model, threads: int, where: str) -> TfliteSession:
    """A session over the one task set of ``model``.

    An interpreter packs the weights of every subgraph of its file at the first inference of any, so it gets a file
    of this one. Raises OutputError when LiteRT cannot load it, and ConfigError for fewer threads than one.
    """
    if threads < 1:
        raise ConfigError(f"an inference needs at least one thread, not {threads}")
    (subgraph,) = model.subgraphs
    module = interpreter()
    content = encode(replace(model, metadata={}, weights={}))
    try:
        runner = module.Interpreter(model_content=content, num_threads=threads)
        runner.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise OutputError(
            f"LiteRT cannot load the network: {error}", where=where, cure="copy or build the bundle again"
        ) from error
    return TfliteSession(runner, tuple(subgraph.outputs))
