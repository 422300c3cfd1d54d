import json
from pathlib import Path

import click
import pytest

from pamc.cli import invoke
from pamc.cli.build import command as build


def test_info_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"local://{tmp_path}/home"
    assert invoke(["devices", "info", url]) == 0
    text = capsys.readouterr().out
    assert "--target" in text and url in text
    assert invoke(["devices", "info", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["storage"]["folder"] == f"{tmp_path}/home"


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["devices", "list", "--json"]) == 0
    assert "local" in [item["url"] for item in json.loads(capsys.readouterr().out)]
    assert invoke(["devices", "list"]) == 0
    assert "ready" in capsys.readouterr().out


def test_the_doctor_ends_with_5_when_something_must_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["devices", "doctor", "ssh://127.0.0.1:1"]) == 5
    text = capsys.readouterr().out
    assert "MUST" in text and "cure:" in text


def test_a_device_that_cannot_be_reached_ends_with_5_and_a_cure(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["devices", "info", "ssh://127.0.0.1:1"]) == 5
    assert "cure:" in capsys.readouterr().err


def test_a_wrong_address_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["devices", "info", "ssh//board"]) == 2
    assert invoke(["devices", "doctor", "shh://board"]) == 2
    assert "did you mean 'ssh'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "expected"), [("rpi4", "arm64"), ("pixel-8", "android-arm64"), ("armv7", "armv7")])
def test_a_board_can_be_the_target_of_a_build(name: str, expected: str) -> None:
    (option,) = (param for param in build.params if param.name == "target")
    assert option.process_value(click.Context(build), name) == expected


def test_a_misspelt_target_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["build", str(tmp_path / "model.yaml"), "--target", "rpi44"]) == 2
    assert "did you mean 'rpi4'" in " ".join(capsys.readouterr().err.split())
