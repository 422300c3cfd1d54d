"""Android's own daemon for adb, built for arm64 Linux from the source package of Debian.

Debian builds the client only. The source supports a daemon on Linux for its own tests; `adbd.patch` has the two changes
that it needs to run alone. clang compiles it against the headers and libraries of an unpacked arm64 root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pamc_devices.debian import Apt
from pamc_devices.folders import content_key, made_once

__all__ = ["LIBRARIES", "build_adbd"]

LIBRARIES = ("android-libboringssl", "libc6", "libcap2", "libgcc-s1", "libstdc++6")
"""The packages of the libraries that the program is linked with."""

_SOURCE = "android-platform-tools=29.0.6-28"
_HEADERS = ("android-libboringssl-dev", "libc6-dev", "libcap-dev", "libgcc-12-dev", "libstdc++-12-dev")
_RECIPE = 1
_PATCH = Path(__file__).with_name("adbd.patch")
_TARGET = "aarch64-linux-gnu"

_PARTS = {
    "system/core/adb": """
        adb adb_io adb_listeners adb_trace adb_unique_fd adb_utils adbconnection/adbconnection_server daemon/auth
        daemon/file_sync_service daemon/jdwp_service daemon/main daemon/services daemon/shell_service daemon/usb_dummy
        fdevent/fdevent fdevent/fdevent_epoll fdevent/fdevent_poll services shell_service_protocol socket_spec sockets
        sysdeps/errno sysdeps/posix/network sysdeps_unix transport transport_fd transport_local transport_usb types
    """,
    "system/core/base": """
        abi_compatibility chrono_utils cmsg errors_unix file liblog_symbols logging mapped_file parsebool
        parsenetaddress process properties stringprintf strings test_utils threads
    """,
    "system/core/diagnose_usb": "diagnose_usb",
    "system/core/libcutils": """
        load_file socket_inaddr_any_server_unix socket_local_client_unix socket_local_server_unix
        socket_network_client_unix sockets sockets_unix threads trace-host
    """,
    "system/core/liblog": """
        log_event_list log_event_write logger_name logger_read logger_write logprint properties
    """,
    "frameworks/native/libs/adbd_auth": "adbd_auth",
}
_C_FILES = ("system/core/libcrypto_utils/android_pubkey.c",)
_INCLUDES = (
    "system/core/adb",
    "system/core/adb/adbconnection/include",
    "system/core/adb/daemon/include",
    "system/core/base/include",
    "system/core/diagnose_usb/include",
    "system/core/include",
    "system/core/libasyncio/include",
    "system/core/libcrypto_utils/include",
    "system/core/libcutils/include",
    "system/core/liblog/include",
    "frameworks/native/libs/adbd_auth/include",
)
_DEFINES = (
    "_GNU_SOURCE",
    "_FILE_OFFSET_BITS=64",
    "ADB_HOST=0",
    "ALLOW_ADBD_DISABLE_VERITY=0",
    "ALLOW_ADBD_NO_AUTH=1",
    "ALLOW_ADBD_ROOT=1",
    'ADB_VERSION="29.0.6"',
    'PLATFORM_TOOLS_VERSION="29.0.6"',
)
# Outside Android no file has an owner that the system prescribes.
_NO_FS_CONFIG = (
    "static inline void fs_config(const char*, int, const char*, unsigned*, unsigned*, unsigned*, unsigned long*) {}\n"
)


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=cwd, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))[:200]} failed:\n{(done.stderr or done.stdout)[-2000:]}")


def _sources() -> Iterator[str]:
    for folder, names in _PARTS.items():
        yield from (f"{folder}/{name}.cpp" for name in names.split())
    yield from _C_FILES


def _compile(tree: Path, sysroot: Path, stub: Path, source: str) -> Path:
    made = tree / f"{source.replace('/', '_')}.o"
    plain = source.endswith(".c")
    command: list[str | Path] = [
        "clang" if plain else "clang++",
        f"--target={_TARGET}",
        f"--sysroot={sysroot}",
        "-O1",
        "-w",
    ]
    if not plain:
        # Headers that the libraries of this source's time included by themselves.
        command += ["-std=gnu++2a", *(word for name in ("array", "atomic", "optional") for word in ("-include", name))]
    if source.endswith("file_sync_service.cpp"):
        command += ["-include", stub]
    command += [f"-D{define}" for define in _DEFINES]
    command += ["-isystem", sysroot / "usr" / "include" / "android", *(f"-I{folder}" for folder in _INCLUDES)]
    _run(*command, "-c", source, "-o", made, cwd=tree)
    return made


def build_adbd(say: Callable[[str], None]) -> Path:
    """The daemon as an arm64 program; built at the first call, in about a minute."""

    def fill(folder: Path) -> None:
        say("downloading the source of adbd and what it is compiled with")
        work = folder / "work"
        apt = Apt(work, "arm64")
        apt.update()
        apt.source(_SOURCE, work / "source")
        sysroot = work / "sysroot"
        apt.unpack((*_HEADERS, *LIBRARIES), sysroot)
        tree = work / "tree"
        (described,) = (work / "source").glob("*.dsc")
        _run("dpkg-source", "--extract", described, tree)
        _run("patch", "--strip=1", "--input", _PATCH, "--directory", tree)
        stub = work / "fs_config_stub.h"
        stub.write_text(_NO_FS_CONFIG)
        sources = list(_sources())
        say(f"compiling adbd for arm64: {len(sources)} files")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda source: _compile(tree, sysroot, stub, source), sources))
        libraries = sysroot / "usr" / "lib" / _TARGET / "android"
        link: list[str | Path] = ["clang++", f"--target={_TARGET}", f"--sysroot={sysroot}", "-fuse-ld=lld"]
        link += [
            f"-L{libraries}",
            f"-Wl,-rpath,/usr/lib/{_TARGET}/android",
            "-lcrypto",
            "-lcap",
            "-lpthread",
            "-lresolv",
        ]
        _run(*link[:4], "-o", folder / "adbd", *objects, *link[4:])
        shutil.rmtree(work)

    return (
        made_once("boards", "adbd", content_key(_RECIPE, _SOURCE, _HEADERS, _PARTS, _DEFINES, _PATCH.read_text()), fill)
        / "adbd"
    )
