"""One copy of the weights for all sessions of a process.

A session copies weights for two reasons: it reads the file, and its kernels reorder them (the NCHWc layout, at the
highest optimisation level only). Here all sessions over one weights.bin get the same memory map of it, and run at the
level below. The pages belong to the file, so processes share them too.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pamc_exporters.onnx.reading import external_tensors, file_slice, read_model
from pamc_exporters.onnx.session import OnnxSession, start
from pamc_exporters.onnx.weights import WEIGHTS, Stored, array_at, map_weights

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

__all__ = ["open_shared"]

_Key = tuple[str, int, int]


class _WeightsFile:
    """A memory map of one weights.bin and the tensors that sessions use of it."""

    def __init__(self, directory: Path) -> None:
        self._bytes = map_weights(directory)
        self._tensors: dict[Stored, Any] = {}

    def tensor(self, given: TensorProto) -> Any:
        """The OrtValue of a tensor; it points into the map."""
        from onnx import helper
        from onnxruntime import OrtValue

        place = Stored(file_slice(given)[0], helper.tensor_dtype_to_np_dtype(given.data_type).name, tuple(given.dims))
        if place not in self._tensors:
            self._tensors[place] = OrtValue.ortvalue_from_numpy(array_at(self._bytes, place))
        return self._tensors[place]


_FILES: WeakValueDictionary[_Key, _WeightsFile] = WeakValueDictionary()
_LOCK = Lock()


def _weights_file(directory: Path) -> _WeightsFile:
    path = (directory / WEIGHTS).resolve()
    with _LOCK:
        opened = _WeightsFile(directory)
        status = path.stat()
        # A file that was written anew has another inode, so old sessions keep the weights that they know.
        return _FILES.setdefault((str(path), status.st_ino, status.st_mtime_ns), opened)


def open_shared(model: Path | ModelProto, directory: Path, threads: int) -> OnnxSession:
    """A session whose weights are those of every other shared session over the same weights.bin.

    Raises OutputError when a file is missing or damaged.
    """
    proto = read_model(model) if isinstance(model, Path) else model
    weights = _weights_file(directory)
    tensors = {tensor.name: weights.tensor(tensor) for tensor in external_tensors(proto)}
    source = model if isinstance(model, Path) else proto.SerializeToString(deterministic=True)
    return OnnxSession(start(source, directory, threads, tensors), keep=(weights, tensors))
