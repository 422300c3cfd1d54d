"""pamc.h in a program of one's own, and the Java helper, as docs/embedding.md and docs/android.md show them."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import pamc
from pamc.bundle import Bundle
from pamc_devices.runner import fetch_android
from pamc_devices.runner.compile import sources
from pamc_devices.runner.fetch import LIBRARY

STRICT = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
HELPER = Path(__file__).parents[2] / "devices" / "android" / "PamcBundle.java"


def test_the_example_answers(cc: str, bundles: Mapping[str, Bundle], library: Path, tmp_path: Path) -> None:
    headers = ["-isystem", sources() / "third_party" / "onnxruntime" / "include"]
    parts = [sources() / "examples" / "answer.c", *sorted((sources() / "src").glob("*.c"))]
    sanitizers = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = tmp_path / "answer"
    subprocess.run([cc, *STRICT, *sanitizers, *headers, *parts, "-o", program, "-ldl"], check=True)
    (tmp_path / LIBRARY).symlink_to(library)
    bundle = bundles["none"]
    x = np.asarray(bundle.vectors["input"])[0]
    # What ONNX Runtime itself keeps to its end is not ours to free.
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [program, bundle.path, "parity+digit"], input=x.tobytes(), capture_output=True, env=environment, check=True
    )
    answers = {task: values for task, _, values in (line.partition(":") for line in done.stdout.decode().splitlines())}
    for task, wanted in pamc.load(bundle.path, format="onnx").run(x, tasks=["digit", "parity"]).items():
        found = np.array(answers.pop(task).split(), np.float64)
        assert np.abs(found - wanted.ravel()).max() <= 1e-4 * np.abs(wanted).max()
    assert not answers
    failed = subprocess.run([program, bundle.path, "nobody"], capture_output=True, env=environment, check=False)
    assert failed.returncode == 2 and b"nobody" in failed.stderr


def test_the_header_is_cpp_as_well(cc: str, tmp_path: Path) -> None:
    (tmp_path / "use.cpp").write_text(f'#include "{sources() / "pamc.h"}"\nint main() {{ return PAMC_OK; }}\n')
    subprocess.run(
        [cc, "-x", "c++", "-std=c++11", "-Wall", "-Wpedantic", "-Werror", "-fsyntax-only", "use.cpp"],
        cwd=tmp_path,
        check=True,
    )


def test_the_vendored_headers_are_those_of_the_archive() -> None:
    folder = sources() / "third_party" / "onnxruntime" / "include"
    with zipfile.ZipFile(archive()) as content:
        for path in sorted(folder.iterdir()):
            assert content.read(f"headers/{path.name}") == path.read_bytes()


def archive() -> Path:
    if shutil.which("npm") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("npm is not installed: apt-get install npm")
    return fetch_android()


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime's Java classes."""
    folder = tmp_path_factory.mktemp("classes")
    with zipfile.ZipFile(archive()) as content:
        return Path(content.extract("classes.jar", folder))


def test_the_java_helper_compiles(classes: Path, tmp_path: Path) -> None:
    compiler = shutil.which("javac")
    if compiler is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("apt-get install default-jdk-headless")
    command = [compiler, "-Xlint:all", "-Werror", "--release", "8", "-Xlint:-options", "-cp", classes, "-d", tmp_path]
    done = subprocess.run([*command, HELPER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "pamc" / "PamcBundle.class").is_file()
