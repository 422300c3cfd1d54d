"""Registries of methods and their options."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest

from pamc.errors import ConfigError, InternalError
from pamc.registry import Registry, did_you_mean

Method = Callable[[int], int]


@dataclass(frozen=True)
class Options:
    groups: int = 4
    scale: float = 1.0
    sizes: tuple[int, ...] = ()
    mode: Literal["fast", "exact"] = "fast"


@pytest.fixture
def registry() -> Registry[Method]:
    result: Registry[Method] = Registry("merge method")

    @result.register("pam", options=Options)
    def pam(x: int) -> int:
        """Shares what is shared.

        More text.
        """
        return x + 1

    @result.register("separate", summary="shares nothing")
    def separate(x: int) -> int:
        return x

    return result


def test_entries_carry_function_options_and_summary(registry: Registry[Method]) -> None:
    assert registry.names() == ("pam", "separate")
    entry = registry.get("pam")
    assert (entry.function(1), entry.options, entry.summary) == (2, Options, "Shares what is shared.")
    assert [entry.summary for entry in registry] == ["Shares what is shared.", "shares nothing"]


def test_unknown_name_suggests_the_nearest(registry: Registry[Method]) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.get("seperate")
    assert str(caught.value).startswith("unknown merge method 'seperate', did you mean 'separate'?")
    assert "pam, separate" in str(caught.value)


def test_a_name_cannot_be_taken_twice(registry: Registry[Method]) -> None:
    with pytest.raises(InternalError, match="registered twice"):
        registry.register("pam")


def test_options_become_the_dataclass(registry: Registry[Method]) -> None:
    assert registry.parse_options("pam", {}) == Options()
    parsed = registry.parse_options("pam", {"scale": 2, "sizes": [1, 2], "mode": "exact"})
    assert parsed == Options(scale=2.0, sizes=(1, 2), mode="exact")
    assert isinstance(parsed.sizes, tuple)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"group": 1}, "no option 'group', did you mean 'groups'?"),
        ({"groups": "4"}, "option 'groups' of merge method 'pam': must be a valid integer"),
        ({"groups": True}, "option 'groups'"),
        ({"groups": 2.5}, "option 'groups'"),
        ({"sizes": [1, "x"]}, "option 'sizes.1'"),
        ({"sizes": 1}, "option 'sizes' of merge method 'pam': must be a list"),
        ({"mode": "slow"}, "option 'mode' of merge method 'pam': must be 'fast' or 'exact'"),
        ({"scale": float("nan")}, "plain finite values"),
        ({"scale": object()}, "plain finite values"),
    ],
)
def test_wrong_options_are_refused(registry: Registry[Method], values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.parse_options("pam", values)
    assert message in str(caught.value)


def test_all_wrong_options_are_reported_at_once(registry: Registry[Method]) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.parse_options("pam", {"group": 1, "scale": "x", "mode": 3})
    assert [problem.where for problem in caught.value.problems] == ["group", "scale", "mode"]


def test_a_method_without_options_takes_none(registry: Registry[Method]) -> None:
    with pytest.raises(ConfigError, match="'separate' has no option 'groups'"):
        registry.parse_options("separate", {"groups": 1})


def test_no_suggestion_for_a_word_unlike_all() -> None:
    assert did_you_mean("zzz", ["alpha", "beta"]) == ""
    assert did_you_mean("ALPHA", ["alpha"]) == ", did you mean 'alpha'?"
