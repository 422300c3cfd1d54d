"""Weights files: what fits is loaded, everything else is named."""

import io
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pamc.capture import load_weights
from pamc.errors import WeightsError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).eval()


def state() -> dict[str, Tensor]:
    return {key: value.clone() + 1 for key, value in network().state_dict().items()}


def refused(path: Path, module: nn.Module | None = None) -> WeightsError:
    module = module or network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(module, path)
    assert caught.value.where == str(path)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    return caught.value


def test_loads(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    wanted = state()
    save_file(wanted, path)
    module = network()
    load_weights(module, path)
    assert all(torch.equal(value, wanted[key]) for key, value in module.state_dict().items())


def test_counter_of_batches_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({key: value for key, value in state().items() if "num_batches" not in key}, path)
    load_weights(network(), path)


def test_shared_tensor_may_be_stored_once(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    kept = {key: value.clone() for key, value in module.state_dict().items() if key != "1.weight"}
    save_file(kept, tmp_path / "w.safetensors")
    load_weights(module, tmp_path / "w.safetensors")


def test_every_misfit_is_listed(tmp_path: Path) -> None:
    tensors = state()
    del tensors["0.bias"]
    tensors["9.weight"] = torch.zeros(2, 2)
    tensors["3.weight"] = torch.zeros(3, 7)
    tensors["1.running_var"][1] = torch.inf
    tensors["1.weight"][0] = torch.nan
    save_file(tensors, tmp_path / "w.safetensors")
    why = str(refused(tmp_path / "w.safetensors").why)
    assert "0.bias (2) is missing" in why
    assert "9.weight (2x2) is not in the network" in why
    assert "3.weight is 3x7, the network wants 3x8" in why
    assert "1.running_var holds NaN" in why and "1.weight holds NaN" in why


def test_prefix_of_a_wrapper_is_explained(tmp_path: Path) -> None:
    save_file({f"module.{key}": value for key, value in state().items()}, tmp_path / "w.safetensors")
    assert "'module.'" in str(refused(tmp_path / "w.safetensors").cure)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_pickles_are_refused_by_content(tmp_path: Path, legacy: bool, suffix: str) -> None:
    buffer = io.BytesIO()
    torch.save(state(), buffer, _use_new_zipfile_serialization=not legacy)
    path = tmp_path / f"w{suffix}"
    path.write_bytes(buffer.getvalue())
    error = refused(path)
    assert "pickle" in error.what and "save_file(torch.load(" in str(error.cure)


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580])
def test_header_length_that_looks_like_a_pickle(tmp_path: Path, length: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(), path, metadata={"note": ""})
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    assert size <= length
    header, rest = content[8 : 8 + size], content[8 + size :]
    path.write_bytes(struct.pack("<Q", length) + header.ljust(length) + rest)
    load_weights(network(), path)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_truncated(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(), path)
    path.write_bytes(path.read_bytes()[:cut])
    assert "damaged" in refused(path).what


def test_huge_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    assert "header claims" in str(refused(path).why)


@pytest.mark.parametrize("header", [b"[1, 2]", b"{nonsense", json.dumps({"a": {"dtype": "F32"}}).encode()])
def test_header_that_is_none(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "damaged" in refused(path).what


def test_unknown_element_type(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    assert "damaged" in refused(path).what


def test_absent_file_and_folder(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "w.safetensors").what
    assert "cannot be read" in refused(tmp_path).what
