"""The file of a result: what is written is read, and nothing else is."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from pamc.errors import InternalError, OutputError
from pamc_bench.results import Block, Energy, Protocol, from_json, read_result, to_json, write_result
from pamc_bench.rows import rows, sustained_text, to_csv
from tests.bench.results import SETS, result, with_energy

FULL = with_energy(result(("digits", "digits again"), baseline="digits again"))


@pytest.mark.parametrize("name", ["r.json", "r.json.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_result(tmp_path / name, FULL)
    first = (tmp_path / name).read_bytes()
    assert read_result(tmp_path / name) == FULL
    write_result(tmp_path / name, FULL)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_times_of_one_variant_stand_on_one_line() -> None:
    text = to_json(FULL)
    assert sum('"start_ns"' in line for line in text.splitlines()) == len(FULL.variants)
    assert json.loads(text)["variants"][0]["blocks"][0]["ns"] == list(FULL.variants[0].blocks[0].ns)


def damaged(**changes: object) -> str:
    return json.dumps({**json.loads(to_json(FULL)), **changes})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("[]", "no object of the kind"),
        ("{}", "no object of the kind"),
        (to_json(FULL)[:-40], "cannot be read"),
        (damaged(schema_version=2), "schema version 2"),
        (damaged(schema_version=True), "schema version True"),
        (damaged(surprise=1), "unknown keys"),
        (damaged(seed="0"), "result.seed is str"),
        (damaged(devices={}), "which is not listed"),
        (damaged(baseline="x"), "the baseline 'x'"),
        (damaged(variants=json.loads(to_json(FULL))["variants"][:1] * 2), "the same key"),
        (damaged(protocol={**json.loads(to_json(FULL))["protocol"], "blocks": 0}), "at least one block"),
        (to_json(FULL).replace('"ns":[', '"ns":[1.5,', 1), r"ns\[0\] is float"),
        (to_json(FULL).replace('"ns":[', '"ns":[7,', 1), "22 times and 21 starts"),
        (to_json(FULL).replace('"ns":[', '"ns":[-', 1), "not positive"),
        (to_json(FULL).replace('"first_ns":900000', '"first_ns":NaN', 1), "first_ns is float"),
    ],
)
def test_a_damaged_result_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(OutputError, match=said) as caught:
        from_json(text, "a.json")
    assert caught.value.where == "a.json" and caught.value.cure


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be read"):
        read_result(tmp_path / "none.json")
    (tmp_path / "cut.json.gz").write_bytes(b"")
    write_result(tmp_path / "whole.json.gz", FULL)
    (tmp_path / "cut.json.gz").write_bytes((tmp_path / "whole.json.gz").read_bytes()[:-9])
    with pytest.raises(OutputError, match="cannot be read"):
        read_result(tmp_path / "cut.json.gz")
    with pytest.raises(OutputError, match="cannot be written"):
        write_result(tmp_path / "no" / "folder.json", FULL)


def test_numbers_that_json_lacks_are_not_written() -> None:
    first = replace(FULL.variants[0], energy=Energy(float("nan"), "meter"))
    with pytest.raises(InternalError, match="cannot be written"):
        to_json(replace(FULL, variants=(first,)))


@pytest.mark.parametrize("wrong", [{"blocks": 0}, {"max_blocks": 2}, {"min_seconds": -1.0}, {"precision": 1.0}])
def test_a_protocol_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"block|negative|fraction"):
        Protocol(**wrong)  # type: ignore[arg-type]


def test_rows_are_the_statistics_of_the_samples() -> None:
    found = {row.key: row for row in rows(FULL)}
    for variant in FULL.variants:
        times = found[variant.key].times
        assert times is not None
        medians = [median(block.ns) / 1e6 for block in variant.blocks]
        every = [value / 1e6 for block in variant.blocks for value in block.ns]
        assert times.p50 == median(medians) and min(medians) <= times.low <= times.p50 <= times.high <= max(medians)
        assert times.least == min(every) and times.mean == pytest.approx(sum(every) / len(every))
        assert (times.runs, times.blocks) == (len(every), len(medians))
        assert times.p50 < times.p90 < times.p99 <= max(every)
    assert [row.key.task_set for row in rows(FULL)][::2] == list(SETS)


def test_times_of_an_emulator_are_never_figures() -> None:
    emulated = result(emulated=True)
    assert all(row.times is None and row.memory_kib and row.instructions for row in rows(emulated))
    assert "start_ns" in to_json(emulated)  # what was seen stays in the file
    lines = list(csv.DictReader(io.StringIO(to_csv(emulated))))
    assert all(line["p50_ms"] == "" and line["emulated"] == "True" for line in lines)


def test_csv_has_the_figures_of_the_rows() -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(FULL))))
    assert len(lines) == len(FULL.variants)
    for line, row in zip(lines, rows(FULL), strict=True):
        assert row.times is not None
        assert (line["bundle"], line["task_set"]) == (row.key.bundle, row.key.task_set)
        assert float(line["p50_ms"]) == row.times.p50 and float(line["min_ms"]) == row.times.least
        assert float(line["variation"]) == row.times.variation and int(line["runs"]) == row.times.runs
        assert int(line["memory_kib"]) == row.memory_kib and int(line["macs"]) == row.macs


def test_a_block_holds_plain_numbers() -> None:
    block = FULL.variants[0].blocks[0]
    assert isinstance(block, Block) and all(type(value) is int for value in block.ns + block.start_ns)


def test_one_long_block_shows_how_times_change() -> None:
    calm = FULL.variants[0].blocks[0]
    # A device that slows down after 60 % of the time: 100 runs of 1 ms, then 50 of 1.2 ms.
    times = (1_000_000,) * 100 + (1_200_000,) * 50
    starts = tuple(sum(times[:i]) for i in range(len(times)))
    long = replace(calm, ns=times, start_ns=starts)
    variant = replace(FULL.variants[0], blocks=(long,))
    found = replace(FULL, variants=(variant,), protocol=Protocol(blocks=1, sustained=True))
    (row,) = rows(found)
    assert row.sustained == (1.0, 1.2) and sustained_text(row) == (
        "1.0000 ms in the first tenth of the time, 1.2000 ms in the last (+20.0 %)"
    )
    (line,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert (line["sustained_first_ms"], line["sustained_last_ms"]) == ("1.0", "1.2")
    assert rows(FULL)[0].sustained is None and sustained_text(rows(FULL)[0]) is None
