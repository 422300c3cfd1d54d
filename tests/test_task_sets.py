"""Task sets as text."""

import pytest

from pamc.task_sets import UnknownTaskError, all_task_sets, parse_task_set, sort_task_sets

TASKS = ("c", "a", "b")


def test_all_sets_small_ones_first_in_task_order() -> None:
    assert all_task_sets(TASKS) == ("c", "a", "b", "c+a", "c+b", "a+b", "c+a+b")


def test_parsed_sets_are_in_task_order() -> None:
    assert parse_task_set("b+c", TASKS) == "c+b"
    assert parse_task_set(" b + a + c", TASKS) == "c+a+b"


@pytest.mark.parametrize("text", ["", "a+", "+a", "a+a", "a,b"])
def test_what_is_not_a_task_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_task_set(text, TASKS)


def test_unknown_task_is_named() -> None:
    with pytest.raises(UnknownTaskError) as caught:
        parse_task_set("a+d", TASKS)
    assert caught.value.name == "d"


def test_sorting_agrees_with_all_sets() -> None:
    assert sort_task_sets(reversed(all_task_sets(TASKS)), TASKS) == all_task_sets(TASKS)
