"""Weights from safetensors files into a module; anything else is refused, pickles above all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pamc.errors import WeightsError

__all__ = ["load_weights"]

MAX_HEADER = 100 * 1024 * 1024
MAX_LISTED = 20
ZIP = b"PK\x03\x04"
CONVERT = (
    'python -c "import torch; from safetensors.torch import save_file; '
    "save_file(torch.load('{name}', map_location='cpu', weights_only=True), '{stem}.safetensors')\""
)


def load_weights(module: nn.Module, path: Path) -> None:
    """Copy the tensors of a safetensors file into ``module``.

    Every parameter and buffer must be there, with its shape, finite, and nothing else; ``num_batches_tracked`` of a
    batch norm may be absent, and so may all but one name of a shared tensor. Raises WeightsError with everything that
    is wrong; the module is unchanged then.
    """
    tensors = _read(path)
    state: Mapping[str, Tensor] = module.state_dict()
    problems = _misfits(state, tensors)
    problems += [f"{key} holds NaN or infinity" for key, tensor in tensors.items() if not _finite(tensor)]
    if problems:
        more = [f"and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
        raise WeightsError(
            "the weights do not fit the network",
            where=str(path),
            why="\n    ".join([*problems[:MAX_LISTED], *more]),
            cure=_cure(state, tensors),
        )
    module.load_state_dict(tensors, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            _check_magic(path, head, size)
            length = int.from_bytes(head, "little")
            if length > MAX_HEADER:
                raise _damaged(path, f"its header claims {length} bytes")
        return load_file(path)
    except FileNotFoundError:
        raise WeightsError("there is no such file", where=str(path), cure="correct the path in model.yaml") from None
    except OSError as error:
        raise WeightsError("the file cannot be read", where=str(path), why=str(error)) from error
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> WeightsError:
    what = "the file is damaged, or no safetensors file"
    return WeightsError(what, where=str(path), why=why, cure="save or copy it again")


def _check_magic(path: Path, head: bytes, size: int) -> None:
    # A pickle begins with PROTO (0x80, version 2 to 5), which is also how some lengths of a header begin;
    # torch.save wraps it in a zip archive.
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if head.startswith(ZIP) or (pickled and any(head[2:])):
        stem = path.stem if path.suffix != ".safetensors" else f"{path.stem}.new"
        raise WeightsError(
            "this is a pickle, as torch.save writes it, not a safetensors file",
            where=str(path),
            why="opening a pickle can run code",
            cure=CONVERT.format(name=path.name, stem=stem),
        )
    if size < 8:
        raise _damaged(path, f"it has {size} bytes")


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _misfits(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    # Shared tensors are stored once, under any of their names.
    present = {state[key].data_ptr() for key in tensors if key in state and state[key].numel()}
    missing = [
        f"{key} ({_shape(tensor)}) is missing"
        for key, tensor in state.items()
        if key not in tensors and tensor.data_ptr() not in present and not key.endswith("num_batches_tracked")
    ]
    unexpected = [
        f"{key} ({_shape(tensor)}) is not in the network" for key, tensor in tensors.items() if key not in state
    ]
    shapes = [
        f"{key} is {_shape(tensor)}, the network wants {_shape(state[key])}"
        for key, tensor in tensors.items()
        if key in state and tensor.shape != state[key].shape
    ]
    return missing + unexpected + shapes


def _cure(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    for prefix in ("module.", "model.", "_orig_mod."):
        if any(key.startswith(prefix) and key.removeprefix(prefix) in state for key in tensors):
            return f"save the state_dict of the network itself: its names start with '{prefix}' here"
    return "save the state_dict of the network that the function in model.yaml builds, with the same args"
