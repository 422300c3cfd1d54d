"""What a deploy decides to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pamc_devices.deployment import Deployment, Entry
from pamc_devices.planning import check_space, plan, pointer_after, unused
from pamc_devices.states import NoSpaceError
from pamc_devices.store import Pointer, Survey


def deployment(name: str, *contents: str) -> Deployment:
    files = {f"bundle/{content}": Entry(content * 64, 1 << 20) for content in contents}
    return Deployment(name, "onnxruntime", ("age",), ("runner",), (), files)


A, B, C = deployment("kit", "a", "b"), deployment("kit", "b", "c"), deployment("kit", "c", "d")
OTHER = deployment("other", "a")
EMPTY = Survey(1 << 40, frozenset(), {}, frozenset(), {})


def survey(*deployments: Deployment, **pointers: Pointer) -> Survey:
    objects = {entry.sha256 for made in deployments for entry in made.all_files.values()}
    return replace(
        EMPTY, objects=frozenset(objects), deployments={made.id: made for made in deployments}, pointers=pointers
    )


def test_the_first_deploy_sends_everything() -> None:
    made = plan(EMPTY, frozenset({"a" * 64, "b" * 64, A.id}), False, A, prune=True)
    assert {path for _, path, _ in made.send} == {"bundle/a", "bundle/b", "deployment.json"}
    assert (made.assemble, made.pointer, made.switches, made.remove) == (True, Pointer(A.id, None), True, ())
    assert made.send_bytes == A.bytes


def test_equal_files_are_sent_once() -> None:
    twice = replace(A, files={"bundle/x": A.files["bundle/a"], "bundle/y": A.files["bundle/a"]})
    made = plan(EMPTY, frozenset({"a" * 64, twice.id}), False, twice, prune=False)
    assert len(made.send) == 2


def test_what_is_there_whole_is_left_alone() -> None:
    there = survey(A, kit=Pointer(A.id, None))
    made = plan(there, frozenset(), True, A, prune=True)
    assert (made.send, made.assemble, made.switches, made.remove) == ((), False, False, ())


def test_the_current_deployment_becomes_the_previous_one() -> None:
    assert pointer_after(None, "x") == Pointer("x", None)
    assert pointer_after(Pointer("x", "w"), "x") == Pointer("x", "w")
    assert pointer_after(Pointer("x", "w"), "y") == Pointer("y", "x")
    assert pointer_after(Pointer("x", "w"), "w") == Pointer("w", "x")


def test_pruning_removes_what_no_pointer_names_afterwards() -> None:
    there = survey(A, B, OTHER, kit=Pointer(B.id, A.id), other=Pointer(OTHER.id, None))
    made = plan(there, frozenset({"d" * 64, C.id}), False, C, prune=True)
    # The contents a and b are in use by others: a by another bundle, b by what becomes the previous deployment.
    assert set(made.remove) == {f"deployments/{A.id}", f"objects/{A.id}"}
    assert plan(there, frozenset(), False, C, prune=False).remove == ()


def test_what_is_being_deployed_is_never_pruned() -> None:
    there = survey(A, C, kit=Pointer(A.id, None))
    made = plan(there, frozenset(), True, C, prune=True)
    assert made.remove == ()
    half = replace(there, deployments={A.id: A})
    assert plan(half, frozenset(), False, C, prune=True).remove == ()


def test_broken_deployments_are_unused_unless_a_pointer_names_them() -> None:
    there = replace(survey(A, kit=Pointer(A.id, "f" * 64)), broken=frozenset({"e" * 64, "f" * 64}))
    assert unused(there, there.kept()) == (f"deployments/{'e' * 64}",)


@pytest.mark.parametrize(("links", "needed"), [(True, 1), (False, 3)])
def test_room_is_needed_for_what_is_sent_and_for_copies(links: bool, needed: int) -> None:
    there = survey(B, kit=Pointer(B.id, None))
    made = plan(there, frozenset({"a" * 64}), False, A, prune=False)
    slack = (1 << 20) + 10_000
    check_space(replace(made, free_bytes=(needed << 20) + slack), A, links, "here", pruned=False)
    for pruned, cure in ((False, "--prune"), (True, "fewer task sets")):
        with pytest.raises(NoSpaceError, match=r"MB are needed, .* MB are free") as caught:
            check_space(replace(made, free_bytes=(needed << 20)), A, links, "here", pruned=pruned)
        assert cure in str(caught.value)


def test_a_full_device_may_test_again_what_it_has() -> None:
    made = plan(survey(A, kit=Pointer(A.id, None)), frozenset(), True, A, prune=False)
    check_space(replace(made, free_bytes=0), A, True, "here", pruned=False)
