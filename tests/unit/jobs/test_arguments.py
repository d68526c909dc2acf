"""Arguments that come as JSON: what calls they make, what is refused, and how it is described."""

from __future__ import annotations

import enum
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioruns import ConfigurationError, Job, job
from aioruns._jobs.arguments import ArgumentError, arguments_schema, call_from_json
from aioruns._values.json import MAX_VALUE


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Model:
    """What we ask of pydantic's models, which are no dependency here; ``tests/unit/web`` has real ones."""

    def __init__(self, number: int) -> None:
        self.number = number

    def model_dump(self, *, mode: str) -> Any:
        return {"number": self.number}

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        return cls(value["number"])

    @classmethod
    def model_json_schema(cls, *, ref_template: str) -> dict[str, Any]:
        return {
            "title": "Model",
            "type": "object",
            "properties": {"number": {"$ref": ref_template.format(model="Number")}},
            "$defs": {"Number": {"type": "integer"}},
        }


@job
async def build(project_id: int, scope: Literal["full", "part"] = "full", *, point: Point | None = None) -> None: ...


@job
async def by_position(first: int, second: int = 2, third: int = 3, /, *rest: int, last: int = 9) -> None: ...


@job
async def named(self: int = 1, /, key: int = 2, **more: int) -> None: ...


@job
async def loose(value, other=3):  # type: ignore[no-untyped-def]
    ...


def refused(job: Job[..., Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    with pytest.raises(ArgumentError) as error:
        call_from_json(job, arguments)
    assert (error.value.job, isinstance(error.value, ConfigurationError)) == (job.name, True)
    problems = dict(error.value.problems)
    assert len(problems) == len(error.value.problems)
    assert all(repr(name) in str(error.value) and detail in str(error.value) for name, detail in problems.items())
    return problems


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ({"project_id": 3}, build(3)),
        ({"scope": "part", "project_id": 3}, build(3, "part")),
        ({"project_id": 3, "point": {"x": 1}}, build(3, point=Point(1))),
        ({"project_id": 3, "point": None}, build(3, point=None)),
        ({"first": 1}, by_position(1)),
        ({"first": 1, "third": 5}, by_position(1, 2, 5)),
        ({"first": 1, "rest": [7, 8]}, by_position(1, 2, 3, 7, 8)),
        ({"first": 1, "rest": [], "last": 3}, by_position(1, 2, 3, last=3)),
        ({}, named()),
        ({"self": 4, "key": 5, "more": {"a": 6}}, named(4, 5, a=6)),
        ({"more": {"a": 6}}, named(a=6)),
        ({"value": {"deep": [None]}}, loose({"deep": [None]})),
    ],
    ids=repr,
)
def test_arguments_by_name_make_the_call_that_python_would_make(arguments: dict[str, Any], call: Any) -> None:
    made = call_from_json(call.job, arguments)
    assert made.job is call.job
    assert (made.bound.args, made.bound.kwargs) == (call.bound.args, call.bound.kwargs)


@pytest.mark.parametrize(
    ("job", "arguments", "problems"),
    [
        (build, {}, {"project_id": "is required"}),
        (build, {"project_id": "3"}, {"project_id": "Expected `int`, got `str`"}),
        (build, {"project_id": None}, {"project_id": "Expected `int`, got `null`"}),
        (build, {"project_id": 3, "scope": "all"}, {"scope": "Invalid enum value 'all'"}),
        (build, {"project_id": 3, "point": {"x": []}}, {"point": "Expected `int`, got `array` - at `$.x`"}),
        (build, {"project_id": 3, "id": 4}, {"id": "job 'build' has no such parameter"}),
        (
            build,
            {"nope": 1, "scope": 2},
            {
                "nope": "job 'build' has no such parameter",
                "project_id": "is required",
                "scope": "Expected `str`, got `int`",
            },
        ),
        (by_position, {"first": 1, "rest": [1, "a"]}, {"rest": "Expected `int`, got `str` - at `$[1]`"}),
        (by_position, {"first": 1, "rest": 3}, {"rest": "Expected `array`, got `int`"}),
        (named, {"more": {"a": "b"}}, {"more": "Expected `int`, got `str` - at `$[...]`"}),
        (named, {"more": {"key": 3}}, {"more": "'key' is a parameter of its own"}),
        (named, {"key": 1, "more": {"self": 3}}, {"more": "'self' is a parameter of its own"}),
        (loose, {"other": 2}, {"value": "is required"}),
    ],
)  # fmt: skip
def test_each_argument_that_does_not_fit_is_named(
    job: Job[..., Any], arguments: dict[str, Any], problems: dict[str, str]
) -> None:
    assert refused(job, arguments) == problems


def test_a_value_that_cannot_be_stored_is_named() -> None:
    (detail,) = refused(loose, {"value": "a" * MAX_VALUE}).values()
    assert detail.startswith("the value takes 1,048,578 bytes")
    (detail,) = refused(loose, {"value": "\ud800"}).values()
    assert detail.startswith("the value cannot be stored as JSON: UnicodeEncodeError")


class Picky:
    """A type whose own code raises what it likes."""

    @classmethod
    def model_validate(cls, value: Any) -> Picky:
        raise KeyError(value)


def test_whatever_the_code_of_a_type_raises_is_a_problem_of_its_argument() -> None:
    @job
    async def take(value: Picky) -> None: ...

    assert refused(take, {"value": "a"}) == {"value": "'a'"}


def test_a_hint_that_cannot_be_resolved_is_no_fault_of_the_arguments() -> None:
    @job
    async def broken(value: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match="type hint of 'value'") as error:
        call_from_json(broken, {"value": 1})
    assert not isinstance(error.value, ArgumentError)


def test_an_argument_error_survives_pickling() -> None:
    error = ArgumentError("build", (("a", "is required"),))
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.problems) == (str(error), error.problems)
    assert str(error) == "the arguments do not fit job 'build': 'a': is required"


# The schema


def test_a_job_is_described_by_its_hints() -> None:
    assert arguments_schema(build) == {
        "type": "object",
        "title": "build",
        "properties": {
            "project_id": {"title": "project_id", "type": "integer"},
            "scope": {"title": "scope", "enum": ["full", "part"], "default": "full"},
            "point": {"title": "point", "anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}], "default": None},
        },
        "required": ["project_id"],
        "additionalProperties": False,
        "$defs": {
            "Point": {
                "title": "Point",
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
                "required": ["x"],
            }
        },
    }


def test_starred_parameters_are_an_array_and_an_object_and_never_required() -> None:
    schema = arguments_schema(by_position)
    assert schema["properties"]["rest"] == {"title": "rest", "type": "array", "items": {"type": "integer"}}
    assert schema["required"] == ["first"]
    more = arguments_schema(named)["properties"]["more"]
    assert more == {"title": "more", "type": "object", "additionalProperties": {"type": "integer"}}


def test_what_is_not_known_is_left_open() -> None:
    @job
    async def open_minded(
        plain, whatever: Any, missing: Missing, unknown: complex = 1j, either: Point | Color | complex = Color.RED  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
    ) -> None: ...  # fmt: skip

    schema = arguments_schema(open_minded)
    assert schema["properties"] == {
        "plain": {"title": "plain"},
        "whatever": {"title": "whatever"},
        "missing": {"title": "missing"},
        "unknown": {"title": "unknown"},
        "either": {"title": "either", "default": "red"},
    }
    assert schema["$defs"] == {}


def test_types_that_only_we_read_are_described() -> None:
    default = PurePosixPath("a")

    @job
    async def take(path: Path, model: Model, models: list[Model], pure: PurePosixPath = default) -> None: ...

    schema = arguments_schema(take)
    model = {"type": "object", "properties": {"number": {"$ref": "#/$defs/Model.Number"}}}
    assert schema["properties"] == {
        "path": {"title": "path", "type": "string", "format": "path"},
        "model": {"title": "model", **model},
        "models": {"title": "models", "type": "array", "items": model},
        "pure": {"title": "pure", "type": "string", "format": "path", "default": "a"},
    }
    assert schema["$defs"] == {"Model.Number": {"type": "integer"}}
    call = call_from_json(take, {"path": "b", "model": {"number": 3}, "models": []})
    assert call.bound.arguments["path"] == Path("b")
    assert call.bound.arguments["model"].number == 3


def test_what_an_annotation_says_is_shown_and_kept() -> None:
    @job
    async def limited(
        count: Annotated[int, msgspec.Meta(ge=1, le=5, title="Count", description="How many.")] = 1,
    ) -> None: ...

    assert arguments_schema(limited)["properties"]["count"] == {
        "title": "Count",
        "description": "How many.",
        "type": "integer",
        "minimum": 1,
        "maximum": 5,
        "default": 1,
    }
    assert refused(limited, {"count": 6}) == {"count": "Expected `int` <= 5"}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["x", "y", "key", ""]), inner),
    max_leaves=4,
)
NAMES = ["project_id", "scope", "point", "first", "second", "third", "rest", "last", "self", "key", "more", "value"]


@given(st.sampled_from([build, by_position, named, loose]), st.dictionaries(st.sampled_from(NAMES), values))
def test_any_json_makes_a_call_that_reads_back_or_is_refused(job: Job[..., Any], arguments: dict[str, Any]) -> None:
    try:
        call = call_from_json(job, arguments)
    except ArgumentError as error:
        assert error.problems
        return
    stored = json.loads(msgspec.json.encode(call.bound.arguments))
    again = call_from_json(job, stored)
    assert (again.bound.args, again.bound.kwargs) == (call.bound.args, call.bound.kwargs)
