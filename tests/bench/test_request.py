"""What to measure, from the words of a command line."""

from pathlib import Path

import pytest

from benchmarks.suites.noise.nets import TASK, chain_bundle
from pamc.bundle import Bundle
from pamc.errors import ConfigError, OutputError
from pamc.lower.target import RUNTIMES
from pamc_bench.request import (
    COMPARING,
    FORMATS,
    Request,
    bundle_entry,
    chosen_sets,
    named_bundles,
    parse_cpus,
    parse_threads,
    parse_time,
    runtimes_of,
    variants,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return chain_bundle(tmp_path_factory.mktemp("bundles") / "one", 2)


def test_formats_are_those_that_targets_know() -> None:
    assert {form: runtime for runtime, form in FORMATS.items()} == RUNTIMES


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("all", "all"),
        ("big", "big"),
        ("0-3,5", "0-3,5"),
        ("0x2f", "0-3,5"),
        ("3,1,2", "1-3"),
        ("7", "7"),
        ("0x80", "7"),
    ],
)
def test_cores_in_words(text: str, cpus: str) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["", "bigg", "0x0", "3-1", "a", "-1", "1,,2", "0-99999", "0x" + "f" * 65])
def test_cores_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="names no cores"):
        parse_cpus(text)


def test_threads_and_times() -> None:
    assert parse_threads("1, 4,1") == (1, 4)
    assert [parse_time(text) for text in ("90", "90s", "5m", "0.5h")] == [90, 90, 300, 1800]
    for wrong in ("0", "", "1,x", "-2", "257"):
        with pytest.raises(ConfigError, match="number of threads"):
            parse_threads(wrong)
    for wrong in ("5 minutes", "0", "-1m"):
        with pytest.raises(ConfigError, match="length of time"):
            parse_time(wrong)


def test_names_of_bundles_differ(bundle: Bundle) -> None:
    assert list(named_bundles([bundle, bundle, bundle], again=False)) == ["chain2", "chain2 2", "chain2 3"]
    assert list(named_bundles([bundle], again=True)) == ["chain2", "chain2 again"]


def test_sets_and_runtimes_are_those_that_all_bundles_have(bundle: Bundle) -> None:
    bundles = {"a": bundle}
    assert chosen_sets(bundles, []) == chosen_sets(bundles, ["all"]) == chosen_sets(bundles, [TASK]) == (TASK,)
    assert runtimes_of(bundles, None) == ("onnxruntime",)
    with pytest.raises(ConfigError, match="unknown task 'chian'"):
        chosen_sets(bundles, ["chian"])
    with pytest.raises(ConfigError, match="did you mean 'litert'"):
        runtimes_of(bundles, "litrt")
    with pytest.raises(ConfigError, match="no tflite files"):
        runtimes_of(bundles, "onnxruntime,litert")


def test_every_combination_is_a_variant(bundle: Bundle) -> None:
    request = Request({"a": bundle, "b": bundle}, "b", (TASK,), ("onnxruntime",), (1, 4), "all", COMPARING, 0, False)
    keys = variants(request, "local", "0-3")
    assert len(set(keys)) == 4 and {(key.bundle, key.threads, key.cpus) for key in keys} == {
        ("a", 1, "0-3"),
        ("a", 4, "0-3"),
        ("b", 1, "0-3"),
        ("b", 4, "0-3"),
    }


def test_files_that_the_build_did_not_verify_are_not_measured(tmp_path: Path) -> None:
    bundle = chain_bundle(tmp_path / "changed", 2)
    entry = bundle_entry(bundle, (TASK,), ("onnxruntime",))
    assert set(entry.files) == {"onnx/chain.onnx", "onnx/weights.bin", "onnx/weights.json"}
    assert entry.macs == {TASK: 2 * 32 * 32 * 9 * 14 * 14}
    weights = bundle.file("onnx/weights.bin")
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    with pytest.raises(OutputError, match=r"weights\.bin is not the file"):
        bundle_entry(bundle, (TASK,), ("onnxruntime",))
