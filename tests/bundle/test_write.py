"""Never half a bundle: what a failed, killed or unwelcome build leaves behind."""

import errno
import json
import os
import subprocess
import sys

import pytest

from pamc.bundle import BundleWriter, check_out, from_json, open_bundle
from pamc.errors import InternalError, OutputError
from tests.bundle.making import make_bundle, manifest_of
from tests.lower.nets import two_task_net


@pytest.fixture
def manifest():
    return manifest_of(two_task_net(), {})


def tree(path):
    return sorted(item.relative_to(path).as_posix() for item in path.rglob("*"))


def test_a_bundle_appears_complete_with_the_hashes_of_its_files(tmp_path, manifest):
    out = tmp_path / "kit"
    with BundleWriter(out) as writer:
        writer.write_text("report.md", "# ä\n")
        writer.write_bytes("onnx/a.onnx", b"abc")
        assert not out.exists()
        assert writer.commit(manifest) == out
    assert tree(tmp_path) == ["kit", "kit/manifest.json", "kit/onnx", "kit/onnx/a.onnx", "kit/report.md"]
    files = from_json((out / "manifest.json").read_text(encoding="utf-8")).files
    assert list(files) == ["onnx/a.onnx", "report.md"]
    assert files["onnx/a.onnx"].bytes == 3
    assert files["onnx/a.onnx"].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_files_but_the_manifest_are_reproducible(tmp_path):
    one, other = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "other")
    assert tree(one) == tree(other)
    for name in tree(one):
        assert not (one / name).is_file() or (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("existing", [False, True])
def test_an_exception_midway_leaves_nothing(tmp_path, error, existing):
    out = tmp_path / "kit"
    if existing:
        make_bundle(out)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in tree(tmp_path)}
    with pytest.raises(error), BundleWriter(out) as writer:
        writer.write_text("report.md", "half")
        raise error
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in tree(tmp_path)} == before
    if existing:
        open_bundle(out).check_hashes()


def test_a_block_without_commit_leaves_nothing(tmp_path):
    with BundleWriter(tmp_path / "kit") as writer:
        writer.write_text("report.md", "half")
    assert tree(tmp_path) == []


def test_an_older_bundle_is_replaced_as_a_whole(tmp_path, manifest):
    out = make_bundle(tmp_path / "kit")
    with BundleWriter(out) as writer:
        writer.write_text("new.txt", "new")
        writer.commit(manifest)
    assert tree(tmp_path) == ["kit", "kit/manifest.json", "kit/new.txt"]


def test_an_older_bundle_comes_back_when_the_rename_fails(tmp_path, manifest, monkeypatch):
    out = make_bundle(tmp_path / "kit")
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt), BundleWriter(out) as writer:
        real = type(out).rename

        def rename(path, target):
            if path == writer.root:
                raise KeyboardInterrupt
            return real(path, target)

        monkeypatch.setattr(type(out), "rename", rename)
        writer.commit(manifest)
    assert tree(tmp_path) == before
    open_bundle(out).check_hashes()


def test_something_else_is_never_overwritten(tmp_path):
    for name, content in (("notes.txt", "mine"), ("manifest.json", '{"manifest_version": 3}'), ("manifest.json", "[")):
        out = tmp_path / "folder"
        out.mkdir(exist_ok=True)
        (out / name).write_text(content)
        with pytest.raises(OutputError, match="holds something that is not a bundle"):
            BundleWriter(out)
        assert (out / name).read_text() == content
        (out / name).unlink()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="the output folder is a file"):
        BundleWriter(tmp_path / "file")


def test_what_appears_during_the_build_is_not_overwritten(tmp_path, manifest):
    out = tmp_path / "kit"
    with pytest.raises(OutputError, match="not a bundle"), BundleWriter(out) as writer:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
        writer.commit(manifest)
    assert tree(tmp_path) == ["kit", "kit/notes.txt"]


def test_an_empty_folder_is_used(tmp_path, manifest):
    (tmp_path / "kit").mkdir()
    with BundleWriter(tmp_path / "kit") as writer:
        writer.commit(manifest)
    assert tree(tmp_path) == ["kit", "kit/manifest.json"]


def test_a_link_to_a_folder_is_kept(tmp_path, manifest):
    (tmp_path / "real").mkdir()
    (tmp_path / "kit").symlink_to("real")
    with BundleWriter(tmp_path / "kit") as writer:
        writer.commit(manifest)
    assert (tmp_path / "kit").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()


def test_a_missing_parent_is_refused_or_made_and_taken_away_again(tmp_path, manifest):
    out = tmp_path / "build" / "kit"
    with pytest.raises(OutputError, match="does not exist"):
        check_out(out)
    with pytest.raises(OutputError, match="does not exist"):
        check_out(tmp_path / "a" / "b" / "kit", make_parent=True)
    assert check_out(out, make_parent=True) == out
    with pytest.raises(RuntimeError), BundleWriter(out, make_parent=True):
        raise RuntimeError
    assert tree(tmp_path) == []
    with BundleWriter(out, make_parent=True) as writer:
        writer.commit(manifest)
    assert tree(tmp_path) == ["build", "build/kit", "build/kit/manifest.json"]


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for make_parent in (False, True):
        with pytest.raises(OutputError):
            check_out(tmp_path / "file" / "kit", make_parent=make_parent)


def test_an_unwritable_parent_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(OutputError, match="is not writable"):
        check_out(tmp_path / "kit")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_forbidden_disk_is_reported_as_such(tmp_path, code):
    with pytest.raises(OutputError, match="the output cannot be written") as caught, BundleWriter(tmp_path / "kit"):
        raise OSError(code, os.strerror(code))
    assert os.strerror(code) in str(caught.value)
    assert tree(tmp_path) == []


def test_another_oserror_stays_what_it_is(tmp_path):
    with pytest.raises(ConnectionRefusedError), BundleWriter(tmp_path / "kit"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_what_a_killed_build_left_is_removed_and_a_running_one_is_not(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left, own, running, other = (
        tmp_path / f"{name}.partial-{process}"
        for name, process in (("kit", int(dead.stdout)), ("kit", os.getpid()), ("kit", os.getppid()), ("kit2", 1))
    )
    for path in (left, own, running, other):
        path.mkdir()
        (path / "half").write_text("")
    with BundleWriter(tmp_path / "kit") as writer:
        assert tree(writer.root) == []
    assert [path.exists() for path in (left, own, running, other)] == [False, False, True, True]


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "", "a\\b"])
def test_files_stay_inside_the_bundle(tmp_path, name):
    with BundleWriter(tmp_path / "kit") as writer, pytest.raises(InternalError, match="cannot hold a file called"):
        writer.path(name)


def test_the_manifest_lists_what_was_written_whatever_it_was_given(tmp_path, manifest):
    out = make_bundle(tmp_path / "kit")
    listed = json.loads((out / "manifest.json").read_text())["files"]
    assert set(listed) == {name for name in tree(out) if (out / name).is_file()} - {"manifest.json"}
