"""Values as JSON and back: what can be stored, what is refused, and how that is said."""

from __future__ import annotations

import dataclasses
import enum
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioruns import ConfigurationError
from aioruns._values.json import NotStorable, decode, decoder_for, encode


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Colour(enum.Enum):
    RED = "red"


class Model(pydantic.BaseModel):
    name: str
    at: datetime


class Struct(msgspec.Struct):
    name: str


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert decode(encode(value, what="it")) == value


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Point(1, 2.5), Point),
        (Colour.RED, Colour),
        (Model(name="a", at=datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)), Model),
        (Struct("a"), Struct),
        (Path("/srv/in.txt"), Path),
        (PurePosixPath("a/b"), PurePosixPath),
        (datetime(2024, 5, 6, 7, 8, 9, 123456, UTC), datetime),
        (UUID(int=3), UUID),
        (Decimal("1.10"), Decimal),
        (b"\x00\xff", bytes),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        ({"a": [Point(1)]}, dict[str, list[Point]]),
        ("a\x00b\u2028\x1b[31m🎉", str),
        (2**100, int),
    ],
)
def test_typed_values_come_back_as_their_hint_says(value: Any, hint: Any) -> None:
    again = decoder_for(hint).decode(encode(value, what="it"))
    assert again == value
    assert type(again) is type(value)


def test_values_without_a_hint_come_back_as_plain_json() -> None:
    assert decode(encode({"point": Point(1), "path": Path("a"), "nan": math.nan}, what="it")) == {
        "point": {"x": 1, "y": 0.5},
        "path": "a",
        "nan": None,
    }


class Unruly:
    def model_dump(self, mode: str) -> Any:
        raise ValueError("no dump today")


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("no words today")


class SilentlyUnruly:
    def model_dump(self, mode: str) -> Any:
        raise Silent


class Quitter:
    def model_dump(self, mode: str) -> Any:
        raise SystemExit(3)


def cycle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "objects of type object have no JSON form"),
        ({"deep": [object()]}, "objects of type object"),
        (cycle(), "RecursionError"),
        ("\ud800", "surrogates"),
        (Unruly(), "ValueError: no dump today"),
        (lambda: 3, "objects of type function"),
    ],
)
def test_value_without_a_json_form_is_refused_by_name(value: Any, reason: str) -> None:
    with pytest.raises(NotStorable, match="the result of run 3 cannot be stored as JSON: ") as refused:
        encode(value, what="the result of run 3")
    assert reason in str(refused.value)
    assert isinstance(refused.value, ConfigurationError)


@pytest.mark.parametrize("value", [SilentlyUnruly(), Quitter()])
def test_E5_code_of_the_value_itself_ends_in_a_refusal_whatever_it_raises(value: Any) -> None:
    with pytest.raises(NotStorable):
        encode(value, what="the result")


def test_G10_size_is_measured_in_bytes_of_json() -> None:
    assert encode("é" * 49, what="it", limit=100) == '"' + "é" * 49 + '"'
    with pytest.raises(NotStorable, match=r"it takes 102 bytes as JSON; at most 100 are stored"):
        encode("é" * 50, what="it", limit=100)


def test_G10_a_mebibyte_is_the_limit_by_default() -> None:
    encode("x" * (1024 * 1024 - 2), what="it")
    with pytest.raises(NotStorable, match=r"1,048,577 bytes"):
        encode("x" * (1024 * 1024 - 1), what="it")


def test_hint_that_cannot_be_read_back_says_so() -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        decoder_for(int).decode('"a"')
    with pytest.raises(NotImplementedError, match="objects of type Unruly cannot be read back"):
        decoder_for(Unruly).decode("{}")
