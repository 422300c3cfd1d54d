"""The classes of instructions, against the words that an assembler writes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pamc_devices.counting import CLASSES, sources

WORDS = Path(__file__).with_name("words.txt")


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> ctypes._NamedFuncPointer:
    compiler = shutil.which("gcc")
    if compiler is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("gcc is not installed: apt-get install gcc")
    library = tmp_path_factory.mktemp("classes") / "classes.so"
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", library]
    subprocess.run([*command, sources() / "classes.c"], check=True)
    function = ctypes.CDLL(str(library)).a64_classify
    function.argtypes = [ctypes.c_uint32]
    return function


def test_every_word_has_the_class_of_its_instruction(classify: ctypes._NamedFuncPointer) -> None:
    lines = [line.split(maxsplit=2) for line in WORDS.read_text().splitlines() if not line.startswith("#")]
    wrong = [(text, name) for word, name, text in lines if CLASSES[classify(int(word, 16))] != name]
    assert not wrong
    assert {name for _, name, _ in lines} == set(CLASSES)


def test_words_that_are_no_instructions_of_these_processors_are_other_ones(
    classify: ctypes._NamedFuncPointer,
) -> None:
    # UDF, SVE's FMLA and SME's FMOPA.
    for word in (0x00000000, 0x65A10000, 0x80820000):
        assert CLASSES[classify(word)] == "other"
