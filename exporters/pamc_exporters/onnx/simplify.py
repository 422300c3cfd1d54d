"""onnx-simplifier over a written network, in a process of its own: a crash of it must not end a build.

``python -m pamc_exporters.onnx.simplify IN OUT KEEP`` is that process; KEEP is 1 when constants stay as they are.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pamc.errors import InternalError
from pamc_exporters.onnx.check import check_file
from pamc_exporters.onnx.reading import external_tensors
from pamc_exporters.onnx.weights import EMBEDDED_BELOW, WEIGHTS, Stored, array_at, digest, map_weights

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["simplified"]

SECONDS = 300
_LONGEST_REASON = 200


class _Refused(Exception):
    """Why the simplified model is not taken."""


def _ends(model: ModelProto) -> list[bytes]:
    return [info.SerializeToString(deterministic=True) for info in (*model.graph.input, *model.graph.output)]


def _run(path: Path, result: Path, keep: bool) -> None:
    command = [sys.executable, "-m", "pamc_exporters.onnx.simplify", str(path), str(result), str(int(keep))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _Refused(f"onnx-simplifier took more than {SECONDS} seconds") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise _Refused(f"onnx-simplifier failed: {reason[:_LONGEST_REASON]}")


def _refer(model: ModelProto, stored: Mapping[str, Stored], directory: Path) -> None:
    """Replace weights inside a model by references to weights.bin. Refuses those that are not there."""
    from onnx import TensorProto, helper, numpy_helper

    data = map_weights(directory)
    places = {(digest(array_at(data, place)), place.dtype): place for place in stored.values()}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.nbytes < EMBEDDED_BELOW:
            continue
        place = places.get((digest(np.ascontiguousarray(array)), array.dtype.name))
        if place is None:
            raise _Refused(f"the simplified network has {array.nbytes} bytes that {WEIGHTS} has not")
        tensor.CopyFrom(
            TensorProto(
                name=tensor.name,
                data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                dims=array.shape,
                data_location=TensorProto.EXTERNAL,
            )
        )
        for field, value in (("location", WEIGHTS), ("offset", place.offset), ("length", place.length)):
            tensor.external_data.add(key=field, value=str(value))


def _accepted(path: Path, model: ModelProto, stored: Mapping[str, Stored]) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    # A network that has quantised or half weights must keep them; folding would turn them into float32.
    floats = all(tensor.data_type == onnx.TensorProto.FLOAT for tensor in external_tensors(model))
    with TemporaryDirectory(prefix="pamc-simplify-") as folder:
        result = Path(folder) / "simplified.onnx"
        _run(path, result, keep=not floats)
        try:
            found = onnx.load(result)
        except (OSError, DecodeError) as error:
            raise _Refused(f"the simplified network cannot be read: {error}") from None
    if _ends(found) != _ends(model):
        raise _Refused("the simplified network has other inputs or outputs")
    _refer(found, stored, path.parent)
    # Inferred shapes would only make the files larger.
    found.graph.ClearField("value_info")
    found.metadata_props.clear()
    found.metadata_props.extend(model.metadata_props)
    return found


def simplified(path: Path, model: ModelProto, stored: Mapping[str, Stored]) -> ModelProto:
    """The model in ``path`` as onnx-simplifier leaves it, or as it is; ``pamc.simplify`` in its metadata says which.

    Taken only when it is valid, has the same inputs and outputs and its weights all lie in weights.bin.
    """
    import onnx

    temporary = path.with_name(f".{path.name}.simplified")
    try:
        found = _accepted(path, model, stored)
        temporary.write_bytes(found.SerializeToString(deterministic=True))
        check_file(temporary, path.name)
        note = "applied"
    except (_Refused, InternalError) as error:
        found, note = model, f"not applied: {error}"
    finally:
        temporary.unlink(missing_ok=True)
    copy = onnx.ModelProto()
    copy.CopyFrom(found)
    copy.metadata_props.add(key="pamc.simplify", value=note)
    return copy


def main(source: str, result: str, keep: str) -> None:
    """The process: simplify the file ``source`` into ``result``."""
    import onnx
    import onnxsim

    model, valid = onnxsim.simplify(onnx.load(source), skip_constant_folding=keep == "1")
    if not valid:
        raise SystemExit("the simplified network computes something else")
    onnx.save(model, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
