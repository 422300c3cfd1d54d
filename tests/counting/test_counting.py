"""Counts of whole inferences and of kernels: exact, the same everywhere, and those that theory has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pamc.bundle import Bundle
from pamc.errors import PamcError
from pamc_devices.boardfiles import BOARDS, write_board_files
from pamc_devices.counting import CLASSES, OPTIONS, REGION, Workplace, _interface, _named, _read, counter, workplace
from pamc_devices.messages import Memory, Samples, Warm
from pamc_devices.roots import board_root
from pamc_devices.states import DamagedError, MissingRuntimeError
from tests.counting.nets import MACS, TASKS

LIBRARIES = ("ld-linux-aarch64", "libc.", "libdl.", "libgcc_s.", "libm.", "libpthread.", "librt.", "libstdc++.")


def files(tasks: Sequence[str] = TASKS) -> list[str]:
    return ["manifest.json", "vectors.safetensors", *(f"onnx/{task}.onnx" for task in tasks)]


@pytest.fixture(scope="module")
def place(counting: None, bundle: Bundle) -> Iterator[Workplace]:
    with workplace("rpi4", bundle.path, files()) as made:
        yield made


def fresh_root(folder: Path, board: str) -> Path:
    """The root of a board made anew: other files with the content that programs see."""
    old = board_root(board, BOARDS[board])
    libraries = folder / "usr" / "lib" / "aarch64-linux-gnu"
    libraries.mkdir(parents=True)
    (folder / "lib").symlink_to("usr/lib")
    for path in (old / "usr" / "lib" / "aarch64-linux-gnu").iterdir():
        if path.name.startswith(LIBRARIES):
            shutil.copy(path, libraries / path.name)
    shutil.copy(libraries / "ld-linux-aarch64.so.1", folder / "lib" / "ld-linux-aarch64.so.1")
    shutil.copytree(old / "etc", folder / "etc", symlinks=True)
    write_board_files(BOARDS[board], folder)
    return folder


def test_multiplications_are_those_of_theory_and_kernels_add_up(place: Workplace) -> None:
    conv = place.count("pointwise")
    assert conv.classes["fma_vector"] == MACS // 4 and conv.classes["dot"] == 0
    product = place.count("matmul", 2)
    reshape, matmul = product.parts
    assert (reshape["fma_vector"], matmul["fma_vector"]) == (0, MACS // 4)
    for name in CLASSES:
        assert 0 <= reshape[name] + matmul[name] <= product.classes[name]
    # What ONNX Runtime does around the kernels is little, but not nothing.
    assert 0.9 < sum(map(sum, (part.values() for part in product.parts))) / sum(product.classes.values()) < 1
    assert next(line for line in product.messages if isinstance(line, Warm)).runs == 2
    assert sum(len(line.ns) for line in product.messages if isinstance(line, Samples)) == REGION + 1


def test_int8_has_dot_products_where_the_processor_has_them(place: Workplace, bundle: Bundle) -> None:
    assert place.count("int8").classes["dot"] == 0
    with workplace("rpi5", bundle.path, files(["int8"])) as newer:
        assert newer.count("int8").classes["dot"] == MACS // 16


def test_counts_are_the_same_to_the_last_digit_everywhere(
    place: Workplace, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.count("branches")
    elsewhere = tmp_path / "a folder with a longer name, and a comma"
    shutil.copytree(bundle.path, elsewhere / "bundle")
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    monkeypatch.setenv("PAMC_TEST_LENGTH", "x" * 1003)
    monkeypatch.chdir(elsewhere)
    with workplace("rpi4", Path("bundle"), files()) as other:
        root = other.folder / "root"
        root.unlink()
        root.symlink_to(fresh_root(elsewhere / "root", "rpi4"))
        second = other.count("branches")
        assert len(str(other.folder)) == len(str(place.folder))
    assert place._run((), "root/usr/bin/env", (), plugins=False).stdout == b"ORT_DISABLE_TELEMETRY=1\n"
    assert second.classes == first.classes
    # Nor does the clock know how busy this machine is.
    times = [[line for line in counted.messages if not isinstance(line, Memory)] for counted in (first, second)]
    assert times[0] == times[1]
    assert not list(elsewhere.glob("tmp*"))


def test_kernels_that_cannot_be_told_apart_are_an_error(place: Workplace) -> None:
    with pytest.raises(DamagedError, match="cannot be told apart"):
        place.count("matmul", 1789)


def test_a_network_that_cannot_be_run_is_an_error(place: Workplace) -> None:
    with pytest.raises(PamcError):
        place.count("matmul+int8")


@pytest.mark.parametrize(("missing", "cure"), [("qemu-aarch64", "qemu-user"), ("gcc", "gcc")])
def test_what_is_missing_is_told_with_its_cure(
    counting: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, cure: str
) -> None:
    if missing != "qemu-aarch64":
        (tmp_path / "qemu-aarch64").symlink_to(str(shutil.which("qemu-aarch64")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRuntimeError) as caught:
        counter()
    assert f"apt-get install {cure}" in str(caught.value)


HEAD = '{"classes":[' + ",".join(f'"{name}"' for name in CLASSES) + "]}\n"


def region(number: int, parts: str = "") -> str:
    return f'{{"region":{number},"classes":[{",".join(["7"] * len(CLASSES))}]{parts}}}\n'


BROKEN = (
    "",
    HEAD,
    HEAD + region(0),
    HEAD + region(REGION)[:40],
    "{}\n" + region(REGION),
    region(REGION),
    HEAD.replace("dot", "dots") + region(REGION),
    HEAD + region(REGION).replace("[7,", "["),
)


@pytest.mark.parametrize("text", BROKEN)
def test_counts_that_are_cut_off_or_garbled_are_an_error(text: str) -> None:
    with pytest.raises(DamagedError):
        _read(text, 0)


def test_the_region_that_counts_is_always_the_same() -> None:
    text = HEAD + region(0) + region(1) + region(REGION).replace("[7", "[5")
    assert _read(text, 0)[0] == {**dict.fromkeys(CLASSES, 7), CLASSES[0]: 5}
    assert OPTIONS[OPTIONS.index("--min-runs") + 1] == str(REGION + 1)


def test_kernels_of_the_same_name_are_numbered() -> None:
    kernel = ["", "Relu", [[1, 4]], [[1, 4]]]
    assert _named([kernel, kernel, ["x", "Cast", [[]], [[]]]]) == [" (Relu 4)", " (Relu 4) #2", "x (Cast 1)"]


def test_the_interface_follows_the_version_of_qemu() -> None:
    versions = ((7, 2, 22), (8, 2, 2), (9, 0, 1), (9, 1, 0), (10, 0, 3))
    assert [_interface(version) for version in versions] == [1, 1, 2, 3, 3]
