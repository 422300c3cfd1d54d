import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pamc.bundle import StageCache, cache_root, code_version, digest
from pamc.errors import ConfigError, InternalError

FILES = {"net.json": b"{}\n", "net.safetensors": bytes(range(256)), "empty": b""}


def entry(root):
    (path,) = root.rglob("*.entry")
    return path


def test_what_was_put_is_got(tmp_path):
    cache = StageCache(tmp_path / "new" / "cache")
    assert cache.get("merge", "k1") is None
    assert cache.put("merge", "k1", FILES)
    assert cache.get("merge", "k1") == FILES
    assert cache.get("prune", "k1") is None
    assert cache.get("merge", "k2") is None
    assert cache.put("merge", "k1", {"other": b"1"})
    assert cache.get("merge", "k1") == {"other": b"1"}


@pytest.mark.parametrize("position", [0, 20, 90, -1])
def test_a_damaged_entry_counts_as_absent_and_is_removed(tmp_path, position):
    cache = StageCache(tmp_path)
    cache.put("merge", "k", FILES)
    data = bytearray(entry(tmp_path).read_bytes())
    data[position] ^= 1
    entry(tmp_path).write_bytes(data)
    assert cache.get("merge", "k") is None
    assert not list(tmp_path.rglob("*.entry"))


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_half_an_entry_counts_as_absent(tmp_path, size):
    cache = StageCache(tmp_path)
    cache.put("merge", "k", FILES)
    entry(tmp_path).write_bytes(entry(tmp_path).read_bytes()[:size])
    assert cache.get("merge", "k") is None


def test_an_interrupted_put_leaves_the_old_entry(tmp_path, monkeypatch):
    cache = StageCache(tmp_path)
    cache.put("merge", "k", FILES)

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.put("merge", "k", {"other": b""})
    assert cache.get("merge", "k") == FILES
    assert [path.name for path in (tmp_path / "merge").iterdir()] == ["k.entry"]


def test_a_folder_that_cannot_be_written_does_not_stop_a_build(tmp_path):
    (tmp_path / "file").write_text("")
    cache = StageCache(tmp_path / "file")
    assert not cache.put("merge", "k", FILES)
    assert cache.get("merge", "k") is None
    with cache.lock("merge", "k"):
        pass


@pytest.mark.parametrize("key", ["", "../k", "a/b", ".hidden", "k\n"])
def test_keys_are_plain_names(tmp_path, key):
    with pytest.raises(InternalError, match="bad cache entry"):
        StageCache(tmp_path).put("merge", key, FILES)


def test_the_root_is_given_or_set_or_the_users(tmp_path, monkeypatch):
    assert StageCache(tmp_path).root == tmp_path
    monkeypatch.setenv("PAMC_CACHE", str(tmp_path / "set"))
    assert cache_root() == StageCache().root == tmp_path / "set"
    monkeypatch.delenv("PAMC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().name == "pamc"


def test_a_second_build_waits_for_the_first(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pamc.bundle import StageCache\n"
        f"with StageCache(Path({str(tmp_path)!r})).lock('merge', 'k'):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    waiting, done = threading.Event(), threading.Event()

    def second():
        with StageCache(tmp_path).lock("merge", "k", waiting.set):
            done.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert waiting.wait(20)
    assert not done.is_set()
    first.communicate("\n")
    assert done.wait(20)
    thread.join()


@dataclass(frozen=True)
class Options:
    rate: float
    names: tuple[str, ...] = ()


def test_different_parts_have_different_digests(tmp_path):
    for folder, name, content in (("a", "one", "x"), ("b", "two", "x"), ("c", "on", "ex")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    zeros = np.zeros(4, np.float32)
    parts = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (b"abc",),
        ("1",),
        (1,),
        (1.0,),
        (None,),
        (),
        (zeros,),
        (zeros.reshape(2, 2),),
        (zeros.view(np.int32),),
        ({"a": 1, "b": 2},),
        (["a", "b"],),
        (("a", "b"),),
        (Options(0.1),),
        (Options(0.2),),
        (Options(0.1, ("a",)),),
        (tmp_path / "a",),
        (tmp_path / "b",),
        (tmp_path / "c",),
        (tmp_path / "a" / "one",),
    ]
    assert len({digest(*part) for part in parts}) == len(parts)


def test_equal_parts_have_equal_digests(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.ascontiguousarray(np.arange(6).reshape(2, 3).T))


def test_what_has_no_digest_is_refused(tmp_path):
    with pytest.raises(InternalError, match="cannot take a digest of object"):
        digest(object())
    with pytest.raises(ConfigError, match="cannot read"):
        digest(tmp_path / "missing")


def test_the_code_version_is_a_digest_of_the_sources():
    assert len(code_version()) == 64
    assert code_version() == code_version()
