"""Check arguments given as plain JSON values against a job's type hints, and describe those hints as JSON Schema."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final

import msgspec

from aioruns._jobs.job import Job, JobCall
from aioruns._values.json import decode, encode
from aioruns._values.model import Run
from aioruns.errors import ConfigurationError

__all__ = ["ArgumentError", "arguments_schema", "call_again", "call_from_json"]

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ArgumentError(ConfigurationError):
    """Arguments do not fit a job's parameters.

    Attributes:
        job: Name of the job.
        problems: The name of each argument that is missing, unknown or wrong, with the reason.
    """

    def __init__(self, job: str, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(job, problems)
        self.job: str = job
        self.problems: tuple[tuple[str, str], ...] = problems

    def __str__(self) -> str:
        problems = "; ".join(f"{name!r}: {detail}" for name, detail in self.problems)
        return f"the arguments do not fit job {self.job!r}: {problems}"


def call_from_json(job: Job[..., Any], arguments: Mapping[str, Any]) -> JobCall[Any]:
    """Make a call from arguments by name, in the form that ``Run.arguments`` has.

    Positional parameters have names here too; ``*args`` is a list under its name, and ``**kwargs`` a dict.

    Args:
        job: The job to call.
        arguments: Plain JSON values.

    Raises:
        ArgumentError: Arguments are missing, unknown, or do not fit their type hints; the error names them all.
        ConfigurationError: A type hint of the job cannot be used.
    """
    problems = [(name, f"job {job.name!r} has no such parameter") for name in arguments if name not in job.decoders]
    given: dict[str, Any] = {}
    for name, parameter in job.signature.parameters.items():
        if name not in arguments:
            if _is_required(parameter):
                problems.append((name, "is required"))
            continue
        try:
            given[name] = job.decoders[name].decode(encode(arguments[name], what="the value"))
        except Exception as error:  # noqa: BLE001 - the hint's own code runs here and may raise anything
            problems.append((name, _explain(error)))
            continue
        if parameter.kind is parameter.VAR_KEYWORD and (taken := given[name].keys() & job.decoders.keys()):
            problems.append((name, f"{min(taken)!r} is a parameter of its own"))
    if problems:
        raise ArgumentError(job.name, tuple(problems))
    bound = inspect.BoundArguments(job.signature, _without_gaps(job, given))  # pyright: ignore[reportArgumentType]
    return job(*bound.args, **bound.kwargs)


def call_again(run: Run, get_job: Callable[[str], Job[..., Any]]) -> JobCall[Any]:
    """Make the call of a run once more.

    Raises:
        ConfigurationError: The run was a bare coroutine, or its job is unknown or no longer takes its arguments.
    """
    if run.arguments is None:
        raise ConfigurationError(f"run {run.id} was a bare coroutine, which runs once only: declare it with @job")
    return call_from_json(get_job(run.job), run.arguments)


def _explain(error: Exception) -> str:
    cause: Any = error.__cause__ or error
    if type(cause).__module__.startswith("pydantic"):  # whose str() spans several lines and contains links
        found: list[dict[str, Any]] = cause.errors()
        return "; ".join(f"{each['msg']} - at `{'.'.join(map(str, ('$', *each['loc'])))}`" for each in found)
    return str(error) or type(error).__name__


def _without_gaps(job: Job[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Add the defaults of omitted parameters that stand before a given positional one."""
    parameters = list(job.signature.parameters.values())
    by_position = [number for number, one in enumerate(parameters) if one.name in given and one.kind in _BY_POSITION]
    before = parameters[: max(by_position, default=0)]
    return {one.name: one.default for one in before if one.name not in given} | given


def arguments_schema(job: Job[..., Any]) -> dict[str, Any]:
    """Describe the arguments that ``call_from_json`` takes, as JSON Schema of draft 2020-12.

    The schema leaves open what a type hint does not tell.

    Returns:
        The schema of an object with one property for each parameter.
    """
    parameters = job.signature.parameters
    definitions: dict[str, Any] = {}
    hints = {name: hint for name, hint in _hints(job).items() if _can_be_described(hint)}
    schemas, components = msgspec.json.schema_components(hints.values(), schema_hook=_Hook(definitions))
    described = dict(zip(hints, schemas, strict=True))
    return {
        "type": "object",
        "title": job.name,
        "properties": {
            name: {"title": name} | described.get(name, {}) | _default(parameter)
            for name, parameter in parameters.items()
        },
        "required": [name for name, parameter in parameters.items() if _is_required(parameter)],
        "additionalProperties": False,
        "$defs": definitions | components,
    }


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in _VARIADIC


def _default(parameter: inspect.Parameter) -> dict[str, Any]:
    if parameter.default is parameter.empty:
        return {}
    try:
        return {"default": decode(encode(parameter.default, what="the default"))}
    except ConfigurationError:  # a default needs no JSON form: the function gets the object itself
        return {}


def _hints(job: Job[..., Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name in job.signature.parameters:
        try:
            hints[name] = job.hint(name)
        except ConfigurationError:
            continue
    return hints


def _can_be_described(hint: Any) -> bool:
    try:
        msgspec.json.schema_components([hint], schema_hook=_Hook({}))
    except Exception:  # noqa: BLE001 - the hint's own code runs here and may raise anything
        return False
    return True


class _Hook:
    """Describes the types that msgspec does not know: paths, and pydantic models, whose definitions it collects."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions

    def __call__(self, hint: type[Any]) -> dict[str, Any]:
        if issubclass(hint, PurePath):
            return {"type": "string", "format": "path"}
        if (describe := getattr(hint, "model_json_schema", None)) is not None:
            prefix = re.sub(r"\W", "_", hint.__name__)
            schema: dict[str, Any] = describe(ref_template=f"#/$defs/{prefix}.{{model}}")
            for name, definition in schema.pop("$defs", {}).items():
                self._definitions[f"{prefix}.{name}"] = definition
            schema.pop("title", None)  # the parameter's own name is the title
            return schema
        raise NotImplementedError
