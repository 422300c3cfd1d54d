import pytest

from benchmarks.suites.lowering.nets import SPLITS, dense, grouped
from benchmarks.suites.lowering.page import page
from benchmarks.suites.lowering.timing import Row, Setup
from pamc.graph import cost
from pamc.graph.owners import runs


@pytest.mark.parametrize(("split", "tasks"), [("pam", 2), ("pam", 4), ("lattice", 3), ("lattice", 4)])
def test_groups_are_whole_tiles_and_each_task_owns_about_the_networks_width(split, tasks):
    for width in (64, 256):
        groups = SPLITS[split](width, tasks)
        assert len(groups) == (tasks + 1 if split == "pam" else 2**tasks - 1)
        assert all(size % 16 == 0 and size >= 16 for size in groups.values())
        for task in range(tasks):
            owned = sum(size for mask, size in groups.items() if mask >> task & 1)
            assert width <= owned <= 2 * width


@pytest.mark.parametrize("network", ["vgg16", "resnet18"])
def test_the_dense_rival_is_as_wide_as_what_runs(network):
    net = grouped(network, "pam", 2, 32)
    for request in (1, 3):
        rival = dense(network, "pam", 2, 32, request)
        for space in net.prunable:
            assert rival.spaces.sizes[space] == runs(net.owners[space], request).sum()
        assert cost(rival, 1).macs > cost(net, request).macs


def row(time, plain, alone_time, tasks=2):
    return Row(
        Setup("vgg16", "pam", tasks, 64), "onnxruntime", "a", 0.5, time, plain, 0.5, alone_time, 2.0, 2.2, 0, 1.01
    )


@pytest.mark.parametrize(
    ("time", "alone", "tasks", "met", "shown"),
    [(0.549, 0.54, 2, "yes", "yes"), (0.551, 0.56, 2, "**no**", "**no**"), (0.59, 0.5, 3, "yes", "yes")],
)
def test_the_page_holds_every_row_to_its_limits(time, alone, tasks, met, shown):
    text = page([row(time, 0.6, alone, tasks).as_data()], "a machine", "the end")
    cells = [cell.strip() for cell in next(line for line in text.splitlines() if "| vgg16" in line).split("|")]
    assert [cells[11], cells[13]] == [met, shown]
    assert f"{time / 0.5:.2f}" in cells
    assert "off by 10%" in text
    assert text.endswith("the end")
