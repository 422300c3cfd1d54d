"""Deploying: all of a bundle or nothing of it, and never less than there was."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from pamc.bundle import open_bundle
from pamc.errors import ConfigError, OutputError, VerificationError
from pamc_devices.base import Device
from pamc_devices.deploy import current, deploy, look, prune, remove, rollback
from pamc_devices.deployment import Parcel, pack, task_sets_in
from pamc_devices.find import opened
from pamc_devices.planning import unused
from pamc_devices.states import (
    CommandError,
    DamagedError,
    LostError,
    MissingRuntimeError,
    NoSpaceError,
    TimedOutError,
    WrongArchitectureError,
)
from pamc_devices.store import Pointer, Store
from tests.bundle.making import make_bundle
from tests.deploy.parts import Failing, parcel, script_program, shadow, tree

WRONG = r"""#!/bin/sh
echo '{"kind":"checked","task_set":"age","task":"age","error":0.5,"limit":1e-4,"ok":false}'
echo '{"kind":"end","lines":1,"status":4}'
exit 4
"""
SILENT = """#!/bin/sh
echo '{"kind":"end","lines":0,"status":0}'
"""
GARBLED = """#!/bin/sh
echo 'Killed'
"""


@pytest.fixture
def kit(tmp_path: Path) -> Parcel:
    """A bundle with three task sets."""
    return parcel(tmp_path / "kit", script_program(tmp_path))


def smaller(kit: Parcel, tmp_path: Path, task_sets: tuple[str, ...] = ("age",)) -> Parcel:
    """The same bundle with fewer task sets: another deployment, of files that the first one had."""
    return pack(open_bundle(tmp_path / "kit"), task_sets, script_program(tmp_path))


def pointer(home: Path) -> list[str]:
    return (home / "store/current/kit").read_text().split("\n")


def unfinished(home: Path) -> list[str]:
    return [path for path in tree(home / "store") if ".part" in path]


def test_a_deployment_is_the_bundle(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    outcome = deploy(device, kit)
    assert {(line.task_set, line.task) for line in outcome.checks} == {
        ("age", "age"),
        ("smile", "smile"),
        ("age+smile", "age"),
        ("age+smile", "smile"),
    }
    folder = home / "store/deployments" / kit.deployment.id
    assert outcome.deployed.folder == str(folder)
    given = tree(tmp_path / "kit")
    sent = {path: data for path, data in tree(folder / "bundle").items() if data}
    assert sent == {path: given[path] for path in sent}
    assert set(sent) == {
        "manifest.json",
        "vectors.safetensors",
        "onnx/weights.bin",
        "onnx/weights.json",
        "onnx/age.onnx",
        "onnx/smile.onnx",
        "onnx/age+smile.onnx",
    }
    assert pointer(home) == [kit.deployment.id, "", ""]
    assert current(device, "kit") == outcome.deployed
    assert json.loads((folder / "deployment.json").read_text())["task_sets"] == ["age", "smile", "age+smile"]
    assert not unfinished(home)


def test_no_file_is_a_symbolic_link_or_can_be_written(device: Device, home: Path, kit: Parcel) -> None:
    deploy(device, kit)
    for path in (home / "store").rglob("*"):
        assert not path.is_symlink()
        if path.is_file() and path.parent.name != "current":
            assert path.stat().st_mode & 0o222 == 0
    assert os.access(home / "store/deployments" / kit.deployment.id / "program/runner.sh", os.X_OK)


def test_only_what_is_missing_is_sent(device: Device, tmp_path: Path, kit: Parcel) -> None:
    part = smaller(kit, tmp_path)
    first = deploy(device, part).plan
    assert {path for _, path, _ in first.send} == set(part.deployment.all_files)
    assert {path for _, path, _ in look(device, kit).send} == {
        "bundle/onnx/smile.onnx",
        "bundle/onnx/age+smile.onnx",
        "deployment.json",
    }
    deploy(device, kit)
    for again in (kit, part):
        plan = deploy(device, again).plan
        assert (plan.send, plan.assemble) == ((), False)


def test_looking_changes_nothing(device: Device, home: Path, kit: Parcel) -> None:
    plan = look(device, kit, prune=True)
    assert plan.send_bytes == kit.deployment.bytes and plan.assemble
    assert tree(home) == {}


@pytest.mark.parametrize("links", [True, False])
def test_a_corrupted_file_is_found_and_sent_again(
    device: Device, home: Path, tmp_path: Path, kit: Parcel, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setenv("PATH", shadow(tmp_path / "bin", "ln", "exit 1"))
    deploy(device, kit)
    sha = kit.deployment.files["bundle/onnx/weights.bin"].sha256
    places = [home / "store/objects" / sha, home / "store/deployments" / kit.deployment.id / "bundle/onnx/weights.bin"]
    assert os.path.samefile(*places) == links
    data = bytearray(kit.sources["bundle/onnx/weights.bin"].read_bytes())
    data[7] ^= 1
    for place in places:
        before = place.stat()
        place.chmod(0o600)
        place.write_bytes(data)
        place.chmod(0o444)
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    plan = deploy(device, kit).plan
    assert [path for _, path, _ in plan.send] == ["bundle/onnx/weights.bin"]
    for place in places:
        assert place.read_bytes() == kit.sources["bundle/onnx/weights.bin"].read_bytes()
    assert not unfinished(home)


@pytest.mark.parametrize("gone", ["bundle/manifest.json", "deployment.json"])
def test_a_lost_file_is_put_back_without_being_sent(device: Device, home: Path, kit: Parcel, gone: str) -> None:
    deploy(device, kit)
    place = home / "store/deployments" / kit.deployment.id / gone
    place.unlink()
    plan = deploy(device, kit).plan
    assert (plan.send, plan.assemble) == ((), True)
    assert place.is_file()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (WRONG, VerificationError),
        (SILENT, DamagedError),
        (GARBLED, DamagedError),
        ("#!/bin/sh\necho '{'\nkill -9 $$\n", DamagedError),
        ("#!/bin/sh\nkill -9 $$\n", CommandError),
        ("#!/no/such/shell\n", MissingRuntimeError),
        ("\x7fELF\x02\x01\x01", WrongArchitectureError),
    ],
)
def test_a_failed_self_test_changes_nothing(
    device: Device, home: Path, tmp_path: Path, kit: Parcel, text: str, error: type[Exception]
) -> None:
    deploy(device, kit)
    before = tree(home / "store/deployments"), tree(home / "store/current")
    (tmp_path / "worse").mkdir()
    worse = pack(open_bundle(tmp_path / "kit"), ("age",), script_program(tmp_path / "worse", text))
    with pytest.raises(error):
        deploy(device, worse)
    assert (tree(home / "store/deployments"), tree(home / "store/current")) == before
    assert not unfinished(home)


def test_a_first_deployment_that_fails_leaves_none(device: Device, home: Path, tmp_path: Path) -> None:
    with pytest.raises(VerificationError):
        deploy(device, parcel(tmp_path / "kit", script_program(tmp_path, WRONG)))
    assert tree(home / "store/deployments") == tree(home / "store/current") == {}
    with pytest.raises(ConfigError, match="no bundle called 'kit'"):
        current(device, "kit")


@pytest.fixture
def old(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> Iterator[tuple[Path, str]]:
    """The device's folder with an older deployment, as a template, and the id of that."""
    older = smaller(kit, tmp_path)
    deploy(device, older)
    shutil.copytree(home, tmp_path / "template", copy_function=os.link)
    yield tmp_path / "template", older.deployment.id


def whole(home: Path, id: str) -> bool:
    """Whether a deployment has all of its files, with the right content."""
    folder = home / "store/deployments" / id
    text = (folder / "deployment.json").read_bytes()
    files = json.loads(text)["files"]
    return hashlib.sha256(text).hexdigest() == id and all(
        hashlib.sha256((folder / path).read_bytes()).hexdigest() == entry["sha256"] for path, entry in files.items()
    )


@pytest.mark.slow  # every one of some twenty points of a deploy, twice
@pytest.mark.parametrize("broken", [True, False], ids=["broken", "interrupted"])
def test_it_may_be_cut_off_at_any_point(
    home: Path, tmp_path: Path, kit: Parcel, old: tuple[Path, str], broken: bool
) -> None:
    template, older = old
    error = (lambda: LostError("the connection broke")) if broken else KeyboardInterrupt
    last, done = 0, False
    while not done:
        last += 1
        shutil.rmtree(home)
        shutil.copytree(template, home, copy_function=os.link)
        with opened(f"local://{home}") as device:
            failing = Failing(device, last, error, stays=broken, before=not broken)
            try:
                deploy(failing, kit, prune=True)
                done = True
            except (LostError, KeyboardInterrupt):
                pass
            now, previous, _ = pointer(home)
            assert (now, previous) in ((older, ""), (kit.deployment.id, older))
            assert all(whole(home, path.name) for path in (home / "store/deployments").iterdir() if not path.suffix)
            assert broken or not any(path.endswith(".part") for path in tree(home / "store/deployments"))
            if last % 5 == 0 or done:
                arrived = len(list((home / "store/objects").iterdir()))
                known = len(set(kit.deployment.all_files) - {"deployment.json"})
                plan = deploy(device, kit, prune=True).plan
                assert len(plan.send) <= max(0, known + 2 - arrived)
                assert pointer(home) == [kit.deployment.id, older, ""]
                assert not unfinished(home)
    assert last > 10


@pytest.mark.parametrize("cut", ["send", "test"])
def test_what_a_broken_deploy_left_does_not_stay(
    device: Device, home: Path, tmp_path: Path, kit: Parcel, cut: str
) -> None:
    sent = len(kit.deployment.all_files)
    # Calls before the first push: prepare, adopt, survey and the hashes of objects.
    broken = Failing(device, 4 + sent // 2 if cut == "send" else 4 + sent + 3)
    with pytest.raises(LostError):
        deploy(broken, kit)
    assert any(path.startswith("objects/" if cut == "send" else "deployments/") for path in unfinished(home))
    if cut == "send":
        (home / "store/objects" / f"{'d' * 64}.part.part-1234").write_text("half")
    deploy(device, smaller(kit, tmp_path))
    assert not unfinished(home)
    with pytest.raises(LostError):
        deploy(Failing(device, 4 + 2), kit)
    assert unfinished(home)
    prune(device)
    assert not unfinished(home)


def test_who_reads_the_pointer_always_finds_one(device: Device, home: Path, kit: Parcel) -> None:
    deploy(device, kit)
    seen: set[str] = set()
    stop = Event()

    def read() -> None:
        while not stop.is_set():
            seen.add((home / "store/current/kit").read_text())

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        pointers = [Pointer(digit * 64, "f" * 64) for digit in "0123456789"]
        for made in pointers:
            Store(device).point("kit", made)
        stop.set()
        reading.result()
    assert seen <= {f"{kit.deployment.id}\n\n", *(f"{made.current}\n{made.previous}\n" for made in pointers)}
    assert len(seen) > 5


def test_a_runner_that_hangs_is_stopped(device: Device, home: Path, tmp_path: Path) -> None:
    hanging = parcel(tmp_path / "kit", script_program(tmp_path, "#!/bin/sh\nsleep 600\n"))
    with pytest.raises(TimedOutError):
        deploy(device, hanging, seconds=1)
    assert tree(home / "store/deployments") == {}


def test_rollback_goes_back_and_forth(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    deploy(device, kit)
    with pytest.raises(ConfigError, match="no previous deployment of kit"):
        rollback(device, "kit")
    newer = smaller(kit, tmp_path)
    deploy(device, newer)
    deploy(device, newer)
    assert rollback(device, "kit").deployment == kit.deployment
    assert pointer(home) == [kit.deployment.id, newer.deployment.id, ""]
    assert rollback(device, "kit").deployment == newer.deployment
    assert pointer(home) == [newer.deployment.id, kit.deployment.id, ""]


def test_rollback_to_a_damaged_deployment_is_refused(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    deploy(device, kit)
    deploy(device, smaller(kit, tmp_path))
    (home / "store/deployments" / kit.deployment.id / "bundle/onnx/smile.onnx").unlink()
    before = pointer(home)
    with pytest.raises(DamagedError, match=r"damaged: bundle/onnx/smile\.onnx"):
        rollback(device, "kit")
    assert pointer(home) == before


def test_pruning_keeps_what_pointers_name(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    sets = (("age",), ("smile",), ("age+smile",))
    parcels = [smaller(kit, tmp_path, chosen) for chosen in sets]
    for made in parcels:
        deploy(device, made)
    kept = {made.deployment.id for made in parcels[1:]}
    assert len(os.listdir(home / "store/deployments")) == 3
    (home / "store/deployments" / ("0" * 64)).mkdir()
    gone = prune(device)
    assert set(os.listdir(home / "store/deployments")) == kept
    assert set(gone) >= {f"deployments/{parcels[0].deployment.id}", f"deployments/{'0' * 64}"}
    held = {entry.sha256 for made in parcels[1:] for entry in made.deployment.all_files.values()}
    assert set(os.listdir(home / "store/objects")) == held
    deploy(device, parcels[0], prune=True)
    assert set(os.listdir(home / "store/deployments")) == {parcels[0].deployment.id, parcels[2].deployment.id}
    assert prune(device) == ()


def test_what_is_staged_is_not_in_use(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    deploy(device, kit)
    staged = deploy(device, smaller(kit, tmp_path), switch=False)
    assert pointer(home)[0] == kit.deployment.id
    assert (Path(staged.deployed.folder) / "bundle/onnx/age.onnx").is_file()
    deploy(device, smaller(kit, tmp_path))
    assert pointer(home)[0] == staged.deployed.deployment.id


def test_a_removed_bundle_is_gone_and_others_stay(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    deploy(device, kit)
    manifest = json.loads((tmp_path / "kit/manifest.json").read_text())
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "kit", other)
    (other / "manifest.json").write_text(json.dumps({**manifest, "name": "other-kit"}))
    opened_other = open_bundle(other)
    second = pack(opened_other, task_sets_in(opened_other, "onnxruntime"), script_program(tmp_path))
    deploy(device, second)
    remove(device, "kit")
    assert os.listdir(home / "store/current") == ["other-kit"]
    assert os.listdir(home / "store/deployments") == [second.deployment.id]
    assert Store(device).is_right(second.deployment)
    remove(device, "other-kit")
    assert not any(tree(home / "store").values())
    with pytest.raises(ConfigError, match="no bundle called 'other-kit'"):
        remove(device, "other-kit")


def test_a_full_device_is_left_alone(home: Path, tmp_path: Path, kit: Parcel, monkeypatch: pytest.MonkeyPatch) -> None:
    df = 'echo "Filesystem 1024-blocks Used Available Capacity Mounted on"\necho "/dev/my disk 9 9 17 99% /x y"'
    monkeypatch.setenv("PATH", shadow(tmp_path / "bin", "df", df))
    with opened(f"local://{home}") as device:
        assert Store(device).survey().free_bytes == 17 * 1024
        with pytest.raises(NoSpaceError, match=r"MB are needed, 0\.0 MB are free") as caught:
            deploy(device, kit)
        assert "--prune" in str(caught.value)
    assert not any(tree(home).values())


def test_a_device_without_sha256sum_is_told(
    home: Path, tmp_path: Path, kit: Parcel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", shadow(tmp_path / "bin", "sha256sum", None))
    with opened(f"local://{home}") as device, pytest.raises(MissingRuntimeError, match="no sha256sum"):
        deploy(device, kit)


def test_a_file_that_changes_while_it_is_sent_is_refused(device: Device, home: Path, kit: Parcel) -> None:
    kit.sources["bundle/onnx/age.onnx"].write_bytes(b"another network")
    with pytest.raises(CommandError):
        deploy(device, kit)
    assert tree(home / "store/deployments") == {}
    assert not unfinished(home)


def test_what_others_left_in_the_store_does_no_harm(device: Device, home: Path, tmp_path: Path, kit: Parcel) -> None:
    deploy(device, kit)
    store = home / "store"
    (store / "current/evil;touch x").write_text(f"{'a' * 64}\n")
    (store / "current/half").write_text("../../x\n")
    (store / "deployments/../deployments/notes").mkdir()
    (store / "objects/readme").write_text("x")
    forged = store / "deployments" / ("f" * 64)
    forged.mkdir()
    (forged / "deployment.json").write_text(kit.deployment.text)
    survey = Store(device).survey()
    assert survey.pointers == {"kit": Pointer(kit.deployment.id, None)}
    assert set(survey.deployments) == {kit.deployment.id} and survey.broken == {"f" * 64}
    assert unused(survey, survey.kept()) == (f"deployments/{'f' * 64}",)
    assert not (store / "x").exists()


def test_a_bundle_with_a_hostile_path_is_not_packed(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "kit")
    hostile = "onnx/a$(touch x).onnx"
    shutil.copyfile(path / "onnx/age.onnx", path / hostile)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][hostile] = manifest["files"]["onnx/age.onnx"]
    manifest["task_sets"]["age"]["files"].append(hostile)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OutputError, match="is no path for a file on a device"):
        pack(open_bundle(path), ("age",), script_program(tmp_path))
