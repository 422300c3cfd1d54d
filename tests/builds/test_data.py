"""What a data function may return, and what is said about everything else."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest

from pamc.data import load_samples
from pamc.errors import UserCodeError
from pamc.spec import FunctionRef, TaskSpec
from pamc.train import Samples

TASKS = {"age": "cross_entropy", "size": "mse", "marks": "binary"}
WIDTHS = {"age": 3, "size": 1, "marks": 2}
HEAD = "import numpy as np, torch\nfrom torch.utils.data import DataLoader, Dataset\nx = np.zeros((4, 2), np.float32)\n"


def load(folder: Path, code: str, *, known: bool = True) -> Samples:
    """What a data function with this body gives; ``known`` when model.yaml describes the input."""
    file = folder / "data.py"
    file.write_text(f"{HEAD}def data():\n{textwrap.indent(code, '    ')}\n")
    tasks = [
        TaskSpec(name, FunctionRef(file, "net"), {}, file, "accuracy" if loss != "mse" else "mse", loss)
        for name, loss in TASKS.items()
    ]
    return load_samples(FunctionRef(file, "data"), tasks, "float32" if known else None, (2,) if known else None, WIDTHS)


DATASET = """\
class Set(Dataset):
    def __len__(self): return 4
    def __getitem__(self, i): return {item}
return Set()
"""

GOOD = {
    "x alone": "return x",
    "a tensor": "return torch.zeros(4, 2)",
    "a list of samples": "return [torch.zeros(2)] * 4",
    "labels": "return x, {'age': np.arange(4) % 3, 'size': torch.ones(4, 1), 'marks': np.ones((4, 2))}",
    "labels in lists": "return x, {'age': [0, 1, 2, 0], 'size': [0.5] * 4}",
    "small types": "return x, {'age': np.zeros(4, np.uint8)}",
    "a dataset": DATASET.format(item="(torch.zeros(2), {'age': i % 3})"),
    "a dataset of lists": DATASET.format(item="[x[i], {'age': torch.tensor(i % 3)}]"),
    "a dataset without labels": DATASET.format(item="torch.zeros(2)"),
}


@pytest.mark.parametrize("code", GOOD.values(), ids=GOOD)
def test_accepted(tmp_path: Path, code: str) -> None:
    samples = load(tmp_path, code)
    assert samples.x.shape == (4, 2) and samples.x.dtype == np.float32
    assert all(len(labels) == 4 for labels in samples.labels.values())
    assert bool(samples.labels) == ("age" in code)


BAD = {
    "nothing": ("return None", "it returned a NoneType"),
    "a mapping": ("return {'x': x}", "it returned a dict"),
    "three values": ("return x, {}, 3", "it returned a tuple"),
    "a loader": ("return DataLoader(torch.zeros(4, 2))", "it returned a DataLoader"),
    "nested lists": ("return [[1, 2], [3]]", "the parts of x differ in shape"),
    "labels as an array": ("return x, np.zeros(4)", "labels are a ndarray, not a mapping"),
    "a dataset of pairs of numbers": (DATASET.format(item="(x[i], 3)"), "labels are a int, not a mapping"),
    "a dataset of triples": (DATASET.format(item="(x[i], {}, 3)"), "its samples are not pairs"),
    "a dataset with gaps": (
        DATASET.format(item="(x[i], {'age': 1} if i else {'age': 1, 'size': 2})"),
        "sample 1 has labels for ['age'], sample 0 for ['age', 'size']",
    ),
    "a dataset of other sizes": (DATASET.format(item="(x[i][:i], {})"), "the parts of x differ in shape"),
    "an empty dataset": (DATASET.format(item="x[i]").replace("return 4", "return 0"), "the data set is empty"),
    "a broken dataset": (DATASET.format(item="(x[i], {'age': 1 / (i - 2)})"), "sample 2 of data.py:data raised"),
    "no samples": ("return x[:0]", "should be (n, *input shape) with n > 0"),
    "doubles": ("return x.astype(float)", "x is float64, the input is float32 (return x.astype(numpy.float32))"),
    "bytes": ("return x.astype(np.uint8)", "or write `dtype: uint8` under `input:`"),
    "nan": ("return x * np.nan", "x holds NaN or infinity"),
    "shape": ("return np.zeros((4, 3), np.float32)", "x holds samples of shape (3,), the input is (2,)"),
    "count": ("return x, {'age': [0, 1]}", "labels of 'age' have shape (2,), should start with 4"),
    "class as float": (
        "return x, {'age': np.zeros(4)}",
        "labels of 'age' are float64 (4,), should be (4,) class numbers",
    ),
    "negative class": ("return x, {'age': [-1, 0, 1, 2]}", "labels of 'age' run from -1 to 2"),
    "class too large": ("return x, {'age': [0, 1, 2, 3]}", "labels of 'age' run from 0 to 3, its network has 3"),
    "outputs": (
        "return x, {'marks': np.ones((4, 3))}",
        "labels of 'marks' have shape (4, 3), its network has 2 outputs",
    ),
    "nan label": ("return x, {'size': [np.nan] * 4}", "labels of 'size' hold NaN"),
    "unknown task": ("return x, {'agee': [0] * 4}", "labels for 'agee', which is no task, did you mean 'age'?"),
    "words": ("return x, {'size': ['a'] * 4}", "labels of 'size' are <U1, should be numbers"),
}


@pytest.mark.parametrize(("code", "message"), BAD.values(), ids=BAD)
def test_refused(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(UserCodeError) as caught:
        load(tmp_path, code)
    assert message in str(caught.value)
    assert "data.py" in str(caught.value) and caught.value.cure


@pytest.mark.parametrize("shape", ["(4, 2)", "(4, 3, 2, 2)"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_data_may_decide_what_the_input_is(tmp_path: Path, shape: str, dtype: str) -> None:
    samples = load(tmp_path, f"return np.zeros({shape}, np.{dtype})", known=False)
    assert str(samples.x.shape) == shape and samples.x.dtype == dtype


UNCLEAR = {
    "no channel": ("np.zeros((4, 8, 8), np.float32)", "x has shape (4, 8, 8)", "x[:, None] adds the channel"),
    "five axes": (
        "np.zeros((4, 1, 1, 8, 8), np.float32)",
        "x has shape (4, 1, 1, 8, 8)",
        "(n, channels, height, width)",
    ),
    "doubles": ("np.zeros((4, 2))", "x is float64, should be float32 or uint8", "x.astype(numpy.float32)"),
}


@pytest.mark.parametrize("parts", UNCLEAR.values(), ids=UNCLEAR)
def test_data_that_cannot_decide_what_the_input_is(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    with pytest.raises(UserCodeError) as caught:
        load(tmp_path, f"return {parts[0]}", known=False)
    assert parts[1] in str(caught.value) and parts[2] in str(caught.value)


def test_labels_of_other_tasks_are_left_out_where_none_can_be_meant_for_a_task(tmp_path: Path) -> None:
    theirs = "'age': [0] * 4, 'size': [0.5] * 4, 'marks': np.ones((4, 2))"
    samples = load(tmp_path, f"return x, {{'other': ['a'], {theirs}}}")
    assert samples.labels.keys() == {"age", "size", "marks"}


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserCodeError) as caught:
        load(tmp_path, "return x * np.nan, {'age': [9] * 4, 'other': [1]}")
    assert all(part in str(caught.value) for part in ("NaN", "9 to 9", "'other'"))
