"""Building pamc-runner for a platform, with zig from PyPI or with Debian's cross compilers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from pamc.errors import InternalError
from pamc_devices.folders import cache_folder
from pamc_devices.runner.platforms import GLIBC, Platform
from pamc_devices.states import MissingRuntimeError

__all__ = ["Compiler", "build_runner", "compile_c", "find_compiler", "sources"]

PROGRAM = "pamc-runner"
_C = (
    "-std=c11",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-O2",
    "-g0",
    "-fPIE",
    "-ffunction-sections",
    "-fdata-sections",
)
_GLIBC_C = ("-D_FILE_OFFSET_BITS=64",)
_LINK = ("-pie", "-s", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,relro", "-Wl,-z,now")
# glibc keeps errno behind a function of another name. The other options keep calls out that bionic has not.
_BIONIC_C = ("-D__errno_location=__errno", "-fno-stack-protector", "-fno-builtin-bcmp")
_BIONIC_LINK = (
    "-nostdlib",
    "-Wl,--dynamic-linker=/system/bin/linker64",
    "-Wl,-z,max-page-size=16384",
    "-Wl,--hash-style=both",
)
_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler for one platform: the words before its arguments, and what it is called."""

    name: str
    command: tuple[str, ...]


def sources() -> Path:
    """The folder of the C sources: in an installed pamc a part of this package, otherwise devices/runner."""
    here = Path(__file__).resolve().parent
    return next(place for place in (here / "source", here.parents[1] / "runner") if (place / "pamc.h").is_file())


def find_compiler(platform: Platform) -> Compiler:
    """A compiler on this machine for ``platform``, zig before others. MissingRuntimeError when there is none."""
    if find_spec("ziglang"):
        target = f"{platform.zig}.{GLIBC}"
        # Without its checks of undefined behaviour, which a release has no use for.
        return Compiler("zig", (sys.executable, "-m", "ziglang", "cc", "-target", target, "-fno-sanitize=all"))
    if path := shutil.which(f"{platform.gcc}-gcc"):
        return Compiler("gcc", (path,))
    raise MissingRuntimeError(
        f"the runner for {platform.name} has to be built once, and no compiler for it is on this machine",
        cure='pip install "pamc[runner]", or on Debian: sudo apt-get install gcc-' + platform.gcc,
    )


def compile_c(compiler: Compiler, arguments: Sequence[str], folder: Path) -> None:
    """Run a compiler in ``folder``, with pamc's cache for what it keeps. InternalError when it fails."""
    # Zig keeps what it made: its copies of C libraries are the greater part of the work.
    zig = str(cache_folder() / "zig")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": zig, "ZIG_LOCAL_CACHE_DIR": zig, "LC_ALL": "C"}
    done = subprocess.run(
        [*compiler.command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise InternalError(
            f"{compiler.name} cannot compile a program for the device",
            why=done.stderr.strip()[-2000:] or None,
            cure="report this with the compiler's version",
        )


def _stub_libraries(compiler: Compiler, folder: Path) -> list[str]:
    """Libraries that only name the functions of bionic which the runner may use; linking fails for any other."""
    listed: dict[str, list[str]] = {}
    for line in (sources() / "android" / "bionic.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            library, name = line.split()
            listed.setdefault(library, []).append(name)
    for library, names in listed.items():
        (folder / f"{library}.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
        options = ["-w", "-fno-builtin", "-fPIC", "-shared", "-nostdlib", f"-Wl,-soname,{library}.so"]
        compile_c(compiler, [*options, "-o", f"{library}.so", f"{library}.c"], folder)
    return [f"{library}.so" for library in listed]


def build_runner(platform: Platform, folder: Path, compiler: Compiler | None = None) -> Path:
    """Build ``folder/pamc-runner`` for ``platform``; the same sources and compiler give the same bytes.

    Raises MissingRuntimeError without a compiler, InternalError when it fails; OSErrors pass through.
    """
    compiler = compiler or find_compiler(platform)
    root, bionic = sources(), platform.libc == "bionic"
    files = sorted(path for part in ("src", "cli") for path in root.glob(f"{part}/*.c"))
    files += [root / "android" / "start.c"] if bionic else []
    with TemporaryDirectory(prefix="pamc-runner-") as name:
        scratch = Path(name)
        options = [*_C, *(_BIONIC_C if bionic else _GLIBC_C), "-isystem", str(root / "third_party/onnxruntime/include")]
        for path in files:
            compile_c(compiler, [*options, "-c", str(path), "-o", f"{path.stem}.o"], scratch)
        objects = [f"{path.stem}.o" for path in files]
        libraries = [*_BIONIC_LINK, *_stub_libraries(compiler, scratch)] if bionic else ["-ldl"]
        compile_c(compiler, [*_LINK, *objects, *libraries, "-o", PROGRAM], scratch)
        folder.mkdir(parents=True, exist_ok=True)
        # Never into the old file: it may be running.
        partial = folder / f".{PROGRAM}.partial"
        shutil.copyfile(scratch / PROGRAM, partial)
        partial.chmod(0o755)
        return partial.replace(folder / PROGRAM)
