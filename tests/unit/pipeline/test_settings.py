"""What a settings class tells about its fields."""

from dataclasses import MISSING, dataclass, field
from typing import Annotated

import pytest

from pipeline.errors import ConfigError
from pipeline.settings import Meta, check_ranges, near, range_problems, settings_of


@dataclass(frozen=True)
class Inner:
    depth: Annotated[int, Meta("How deep.", minimum=1)] = 1


@dataclass(frozen=True)
class Outer:
    name: Annotated[str, Meta("What it is called.", choices=("a", "b"))]
    share: Annotated[float, Meta("How much.", above=0)] = 0.5
    kind: Annotated[str, Meta("Of what kind.", key="type")] = "x"
    inner: Annotated[Inner, Meta("What is inside.")] = field(default_factory=Inner)


def test_a_setting_tells_name_type_default_and_meaning() -> None:
    """By the key it has in the file, in the order of the fields, sections within."""
    settings = settings_of(Outer)
    assert list(settings) == ["name", "share", "type", "inner"]
    assert settings["name"].is_required
    assert settings["name"].default is MISSING
    assert (settings["share"].type, settings["share"].default) == (float, 0.5)
    assert (settings["type"].name, settings["type"].meta.doc) == ("kind", "Of what kind.")
    assert settings["inner"].default is Inner
    assert settings["inner"].inner["depth"].meta.minimum == 1


@pytest.mark.parametrize(
    ("name", "share", "expected"),
    [
        ("a", 0.1, []),
        ("c", 0.1, [("name", 'expected one of "a", "b", got "c"')]),
        ("a", 0, [("share", "must be above 0, got 0")]),
        ("a", float("inf"), [("share", "expected a finite number, got inf")]),
    ],
)
def test_what_is_out_of_range_is_told(
    name: str, share: float, expected: list[tuple[str, str]]
) -> None:
    """Field by field."""
    assert list(range_problems(Outer(name, share))) == expected


def test_every_value_out_of_range_is_refused_at_once() -> None:
    """One problem a field."""
    with pytest.raises(ConfigError) as caught:
        check_ranges(Outer("c", -1))
    assert len(caught.value.problems) == 2


def test_only_a_near_name_is_suggested() -> None:
    """A far one would mislead."""
    assert near("retires", ["retries", "handler"]) == '; did you mean "retries"?'
    assert near("zzz", ["retries", "handler"]) == ""
