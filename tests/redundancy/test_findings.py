"""The file of a bundle: written and read back, refused when damaged, and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pamc.bundle import BundleWriter, open_bundle
from pamc.cli import cli
from pamc.errors import ConfigError, OutputError
from pamc.graph import MultitaskGraph
from pamc.inspection import inspect_redundancy
from pamc.merge import METHODS, Calibration
from pamc.ownership import ownership_view
from pamc.redundancy import REDUNDANCY, Redundancy, from_json, redundancy_view, to_json
from pamc.redundancy.table import WIDTH
from tests.bundle.making import make_bundle
from tests.redundancy.nets import found_in, samples, two_of_the_same
from tests.zoo.captured import aligned


@pytest.fixture(scope="module")
def shared() -> MultitaskGraph:
    net = aligned("lenet", 2)
    return METHODS.get("concat").function(net, Calibration(samples(net).x, {}), None)


@pytest.fixture(scope="module")
def found(shared: MultitaskGraph) -> Redundancy:
    return found_in(shared)


@pytest.mark.parametrize("make", [lambda: aligned("lenet", 3), lambda: two_of_the_same("lenet")])
def test_what_is_written_is_read(make: Callable[[], MultitaskGraph]) -> None:
    net = make()
    found = found_in(net, 64)
    assert from_json(to_json(found), net) == found


Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data.update(schema_version=2), "schema version 2"),
        (lambda data: data.pop("gains"), "lacks"),
        (lambda data: data.update(seed="0"), "should be int"),
        (lambda data: data["layers"][0].update(space="input"), "'input' is no layer"),
        (lambda data: data["layers"][0]["partly_needed"][0].update(unit=12), "has 12 units"),
        (lambda data: data["layers"][0]["partly_needed"][0].update(unit=-1), "has 12 units"),
        (lambda data: data["layers"][0]["partly_needed"][0].update(needed_by="c"), "unknown task 'c'"),
        (lambda data: data["layers"][0]["partly_needed"][0]["influence"].update({"a+b": 1.0}), "unknown tasks"),
        (lambda data: data["layers"][0]["groups"][0].update(owners="b+a"), "order of the tasks"),
        (lambda data: data["entropy"].pop("a"), "label entropies"),
        (lambda data: data["entropy"].update(a=-1.0), "label entropies"),
        (lambda data: data["gains"].update({"a+x": {"now": 1, "then": 1}}), "unknown task 'x'"),
    ],
)
def test_damage_is_an_output_error(shared: MultitaskGraph, found: Redundancy, edit: Edit, message: str) -> None:
    data = json.loads(to_json(found))
    edit(data)
    with pytest.raises(OutputError, match=message):
        from_json(json.dumps(data), shared)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema_version": 1, "layers": NaN}', "[" * 100_000])
def test_what_is_no_analysis_is_an_output_error(shared: MultitaskGraph, text: str) -> None:
    with pytest.raises(OutputError):
        from_json(text, shared)


def test_the_text_names_units_and_gains(found: Redundancy) -> None:
    text = redundancy_view(found).text
    assert max(map(len, text.splitlines())) <= WIDTH
    (table, duplicates, needed, gains, advice) = text.split("\n\n")[1:]
    conv1 = next(line for line in table.splitlines() if line.startswith("conv1"))
    assert conv1.split() == ["conv1", "a+b", "12", "-", "12", "-"]
    assert duplicates.splitlines()[1:] == ["  none"]
    assert "conv1: a+b -> a: 0-5, a+b -> b: 6-11" in needed
    first = gains.splitlines()[2].split()
    assert first[:3] == ["a", f"{found.gains['a'].now:,}", f"{found.gains['a'].then:,}"]
    assert first[3].startswith("-")
    assert "training" in advice


def test_pairs_and_what_groups_know_are_in_the_text() -> None:
    found = found_in(two_of_the_same("lenet"))
    text = redundancy_view(found).text
    assert "  conv1: a 0 = b 6 (1.00), a 1 = b 7 (1.00)" in text
    assert "Partly needed: shared units that move some owners less than 0.05 times the mean\n  none" in text
    (fc2,) = (layer for layer in found.layers if layer.space == "fc2")
    (group,) = (group for group in fc2.groups if group.owners == "a")
    (known,) = group.knows
    excess = (known.nats - known.shuffled) / found.entropy["b"]
    row = next(line for line in text.splitlines() if line.startswith("fc2"))
    assert f"b +{excess:.0%}" in row
    # Where chance alone reaches the label entropy, nothing can be said.
    certain = replace(found, entropy={"a": known.shuffled, "b": known.shuffled})
    assert "b ?" in redundancy_view(certain).text


def bundle_with(path: Path, text: str) -> Path:
    """A bundle that holds an analysis of its network."""
    bundle = open_bundle(make_bundle(path.with_name("plain")))
    with BundleWriter(path) as writer:
        for name in bundle.manifest.files:
            writer.write_bytes(name, bundle.file(name).read_bytes())
        writer.write_text(REDUNDANCY, text)
        return writer.commit(bundle.manifest)


def test_the_command_prints_the_table_and_the_same_as_json(tmp_path: Path) -> None:
    net = open_bundle(make_bundle(tmp_path / "kit")).net
    found = found_in(net, 32)
    path = bundle_with(tmp_path / "with", to_json(found))
    shown = CliRunner().invoke(cli, ["inspect", str(path), "--redundancy"])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == redundancy_view(found).text + "\n"
    shown = CliRunner().invoke(cli, ["inspect", str(path), "--redundancy", "--json"])
    assert json.loads(shown.stdout) == json.loads(to_json(found))
    assert CliRunner().invoke(cli, ["inspect", str(path), "--redundancy", "--plan", "age"]).exit_code == 2
    assert CliRunner().invoke(cli, ["inspect", str(path), "--redundancy", "--owners"]).exit_code == 2
    drawn = CliRunner().invoke(cli, ["inspect", str(path), "--owners"])
    assert drawn.exit_code == 0 and drawn.stdout == f"{ownership_view(open_bundle(path).net).text}\n"


def test_a_bundle_without_an_analysis_says_what_to_do(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "kit"))
    with pytest.raises(ConfigError, match="build it again"):
        inspect_redundancy(bundle)


def test_an_analysis_of_another_network_is_refused(tmp_path: Path, found: Redundancy) -> None:
    bundle = open_bundle(bundle_with(tmp_path / "with", to_json(found)))
    with pytest.raises(OutputError, match="redundancy"):
        inspect_redundancy(bundle)
