"""Files that somebody else may have written are read without a fault of memory, by the C code that reads them."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from pamc_devices.runner.compile import sources
from tests.bundle.making import make_bundle

MUTATIONS = 400
ROUNDS = 5
INTERESTING = (b'"', b"\\", b"{", b"[", b"]", b"}", b",", b":", b"0", b"-", b"e9999", b"\\ud800", b"\\u0000", b"\xff")
NUMBERS = (
    b"-1",
    b"1e3",
    b"0.5",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"null",
    b"[]",
)


@pytest.fixture(scope="module")
def program(cc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fuzz.c with the sanitizers of addresses and of undefined behaviour."""
    target = tmp_path_factory.mktemp("fuzz") / "fuzz"
    parts = [sources() / "src" / f"{name}.c" for name in ("fail", "file", "json", "tensors", "manifest")]
    options = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([cc, *options, Path(__file__).with_name("fuzz.c"), *parts, "-o", target], check=True)
    return target


def outcomes(program: Path, folders: list[Path]) -> list[tuple[bool, bool]]:
    """For each folder, whether its vectors and its manifest were taken."""
    done = subprocess.run([program, *folders], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [(line[0] == "1", line[2] == "1") for line in done.stdout.splitlines()]


def mutated(data: bytes, draw: random.Random) -> bytes:
    """``data`` with one to four things changed."""
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(data) + 1), draw.choice((0, 1, 1, 8, 64))
        put = draw.choice((b"", bytes([draw.randrange(256)]), draw.choice(INTERESTING), draw.choice(NUMBERS)))
        how = draw.randrange(6)
        if how == 0:
            data = data[:at]
        elif how == 1:
            data = data[:at] + data[at : at + 64] * draw.randint(2, 40) + data[at:]
        elif how == 2 and (digits := [place for place, byte in enumerate(data[:4000]) if 48 <= byte <= 57]):
            place = draw.choice(digits)
            data = data[:place] + draw.choice(NUMBERS) + data[place + 1 :]
        else:
            data = data[:at] + put + data[at + length :]
    return data


def pairs(program: Path, folder: Path, files: list[tuple[bytes, bytes]]) -> list[tuple[bool, bool]]:
    places = []
    for number, (vectors, manifest) in enumerate(files):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        (place / "vectors.safetensors").write_bytes(vectors)
        (place / "manifest.json").write_bytes(manifest)
        places.append(place)
    return outcomes(program, places)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Vectors and manifest of a bundle."""
    path = make_bundle(tmp_path_factory.mktemp("sound") / "kit")
    return (path / "vectors.safetensors").read_bytes(), (path / "manifest.json").read_bytes()


def test_sound_files_are_taken(program: Path, sound: tuple[bytes, bytes], tmp_path: Path) -> None:
    assert pairs(program, tmp_path, [sound]) == [(True, True)]


def test_mutated_files(program: Path, sound: tuple[bytes, bytes], tmp_path: Path) -> None:
    draw = random.Random(0)
    found: list[tuple[bool, bool]] = []
    for _ in range(ROUNDS):
        files = [(mutated(sound[0], draw), mutated(sound[1], draw)) for _ in range(MUTATIONS)]
        found += pairs(program, tmp_path, files)
    for side in (0, 1):
        refused = sum(not taken[side] for taken in found)
        assert len(found) / 4 < refused < len(found), "mutations hit what is read, and not all of them matter"


def header(text: bytes, values: bytes = bytes(8)) -> bytes:
    return struct.pack("<Q", len(text)) + text + values


def entry(**changed: object) -> bytes:
    value = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changed}
    return header(json.dumps({"input": {key: it for key, it in value.items() if it is not None}}).encode())


def bad_vectors() -> Iterator[bytes]:
    yield b""
    yield bytes(7)
    yield struct.pack("<Q", 2**64 - 1) + b"{}"
    yield struct.pack("<Q", 3) + b"{}"
    yield header(b"[]")
    yield header(b"")
    yield entry(data_offsets=[0, 12])
    yield entry(data_offsets=[8, 0])
    yield entry(data_offsets=[4, 12])
    yield entry(data_offsets=[-4, 4])
    yield entry(data_offsets=[0, 8, 8])
    yield entry(data_offsets=[2**62, 2**62 + 8])
    yield entry(shape=[3])
    yield entry(shape=[2**62, 4])
    yield entry(shape=[2**32, 2**32])
    yield entry(shape=[0, 2**40])
    yield entry(shape=[2.0])
    yield entry(shape=[1] * 10)
    yield entry(shape="2")
    yield entry(dtype="F64")
    yield entry(dtype=None)
    yield header(b'{"input":null}')


def test_vectors_that_lie(program: Path, sound: tuple[bytes, bytes], tmp_path: Path) -> None:
    files = [(vectors, sound[1]) for vectors in bad_vectors()]
    assert [taken for taken, _ in pairs(program, tmp_path, files)] == [False] * len(files)


def test_vectors_that_are_right(program: Path, sound: tuple[bytes, bytes], tmp_path: Path) -> None:
    right = [entry(), entry(shape=[2, 1, 1]), entry(dtype="U8", shape=[2, 4]), entry(shape=[0], data_offsets=[4, 4])]
    right.append(save({"input": np.zeros((2, 3), np.float32)}, {"made": "by a test"}))
    assert [taken for taken, _ in pairs(program, tmp_path, [(it, sound[1]) for it in right])] == [True] * len(right)


def bad_texts() -> Iterator[bytes]:
    """What RFC 8259 does not allow, or this reader does not."""
    yield from (b"", b" ", b"{", b"[1", b'{"a"}', b'{"a":}', b'{"a":1,}', b"[1,]", b"[1 2]", b"{1:2}", b"nul", b"True")
    yield from (b"01", b"+1", b"1.", b".5", b"1e", b"-", b"0x1", b"NaN", b"Infinity", b"1 2", b"{}x", b"'a'")
    yield from (b'"', b'"\\x"', b'"\\u12g4"', b'"\\ud800"', b'"\\ud800\\u0041"', b'"\\udc00"', b'"\\u0000"', b'"\n"')
    yield from (b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b'"a\x00b"', b'"\\')
    yield from (b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b"[" * 40 + b"]" * 40, b"\xef\xbb\xbf{}")


def test_json_that_is_none(program: Path, sound: tuple[bytes, bytes], tmp_path: Path) -> None:
    manifest = sound[1].rstrip()
    assert manifest.endswith(b"}")
    texts = [manifest[:-1] + b',"more":' + text + b"}" for text in bad_texts()]
    texts += [manifest + b"x", manifest + b"\0"]
    files = [(sound[0], text) for text in texts]
    assert [taken for _, taken in pairs(program, tmp_path, files)] == [False] * len(files)


def test_json_that_is_unusual(program: Path, sound: tuple[bytes, bytes], tmp_path: Path) -> None:
    """As an older reader of a newer manifest finds it: what it does not know does not matter, if it is JSON."""
    manifest = sound[1].rstrip()
    odd = (
        b'"\\ud83d\\ude00\\"\\\\\\/"',
        b"-0.5e-3",
        b"[[],{},null,true,false]",
        b"1e999",
        '"\u00e9\u20ac\U0001f600"'.encode(),
    )
    texts = [manifest[:-1] + b',\r\n\t"more" : ' + text + b" }\n" for text in odd]
    texts += [manifest[:-1] + b',"more":' + b"[" * 30 + b"]" * 30 + b"}"]
    files = [(sound[0], text) for text in texts]
    assert [taken for _, taken in pairs(program, tmp_path, files)] == [True] * len(files)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", 2),
        ("schema_version", 1.0),
        ("schema_version", "1"),
        ("input", {"shape": [0], "dtype": "uint8"}),
        ("input", {"shape": [2**31, 2**31], "dtype": "uint8"}),
        ("input", {"shape": [1] * 9, "dtype": "uint8"}),
        ("input", {"shape": [1], "dtype": "int64"}),
        ("tasks", []),
        ("tasks", [{"name": "age", "shape": [1]}] * 2),
        ("tasks", [{"name": f"t{number}", "shape": [1]} for number in range(17)]),
        ("tasks", {"age": [1]}),
        ("task_sets", []),
        ("task_sets", {"age+age": {"emitted": True, "files": []}}),
        ("task_sets", {"": {"emitted": True, "files": []}}),
        ("task_sets", {"age": {"files": []}}),
        ("numerics", {"method": 8}),
    ],
)
def test_a_manifest_that_lies(
    key: str, value: object, program: Path, sound: tuple[bytes, bytes], tmp_path: Path
) -> None:
    changed = json.dumps({**json.loads(sound[1]), key: value}).encode()
    assert pairs(program, tmp_path, [(sound[0], changed)]) == [(True, False)]
