"""What a run executes: a job's call with copies of its arguments, or a bare coroutine object."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

import msgspec

from aioruns._jobs.job import Job, JobCall
from aioruns._values.json import MAX_VALUE, encode
from aioruns.errors import ConfigurationError

__all__ = ["Work", "work_of"]


class Work(Protocol):
    """What a run executes; ``work_of`` makes it from a ``JobCall`` or a bare coroutine object."""

    @property
    def name(self) -> str:
        """Name of the job."""
        ...

    @property
    def arguments_json(self) -> str | None:
        """The arguments by name, or None for a bare coroutine."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds that one attempt may execute, as the job declares."""
        ...

    @property
    def cancel_grace(self) -> float:
        """Seconds between setting the cancel event and cancelling the task."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether ``begin`` gives a coroutine; otherwise the function executes in a thread."""
        ...

    def begin(self) -> Any:
        """Call the function: return its coroutine, or its result if ``is_async`` is false."""
        ...

    def discard(self) -> None:
        """Give the work up: it will never begin."""
        ...

    def decode_result(self, text: str) -> Any:
        """Decode a stored result."""
        ...


class _CallWork:
    """A job's call, with its encoded arguments and with decoded copies for the function, which may mutate them."""

    __slots__ = ("_call", "_job", "arguments_json")

    def __init__(self, call: JobCall[Any]) -> None:
        job = self._job = call.job
        given = call.bound.arguments
        self.arguments_json: str | None = encode(
            given, what=f"the arguments of job {job.name!r} ({', '.join(given)})", limit=MAX_VALUE
        )
        self._call: Callable[[], Any] | None = job.bind_stored(_copies(job, self.arguments_json))

    @property
    def name(self) -> str:
        return self._job.name

    @property
    def timeout(self) -> float | None:
        return self._job.timeout

    @property
    def cancel_grace(self) -> float:
        return self._job.cancel_grace

    @property
    def is_async(self) -> bool:
        return self._job.is_async

    def begin(self) -> Any:
        assert self._call is not None
        call, self._call = self._call, None  # from here on only the function holds its arguments
        return call()

    def discard(self) -> None:
        self._call = None

    def decode_result(self, text: str) -> Any:
        return self._job.result_decoder.decode(text)


_raw_values = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _copies(job: Job[..., Any], arguments_json: str) -> dict[str, Any]:
    decoders = job.decoders
    copies: dict[str, Any] = {}
    for name, raw in _raw_values.decode(arguments_json).items():
        try:
            value = decoders[name].decode(raw)
        except (msgspec.ValidationError, TypeError, ValueError, NotImplementedError) as error:
            raise ConfigurationError(
                f"job {job.name!r}: argument {name!r} does not survive being stored: {error}"
            ) from error
        copies[name] = (
            tuple(value) if job.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else value
        )
    return copies


class _CoroutineWork:
    """A bare coroutine object: executed once, or closed if it never begins, so that Python does not warn about it."""

    __slots__ = ("_coroutine", "name")
    arguments_json: str | None = None
    timeout: float | None = None
    cancel_grace = 0.0
    is_async = True

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.name = coroutine.__qualname__

    def begin(self) -> Any:
        return self._coroutine

    def discard(self) -> None:
        self._coroutine.close()

    def decode_result(self, text: str) -> Any:
        return msgspec.json.decode(text)


def work_of(call: object) -> Work:
    """Make the work of a run.

    Raises:
        ConfigurationError: ``call`` is neither a ``JobCall`` nor a coroutine object that has not begun, or its
            arguments cannot be stored.
    """
    if isinstance(call, JobCall):
        return _CallWork(cast("JobCall[Any]", call))
    if inspect.iscoroutine(call):
        if inspect.getcoroutinestate(call) != inspect.CORO_CREATED:
            raise ConfigurationError(
                f"the coroutine {call.__qualname__} has begun already: make a new one for each run"
            )
        return _CoroutineWork(call)
    if isinstance(call, Job):
        raise ConfigurationError(f"call the job to say what to run: {call.name}(…), not {call.name}")
    raise ConfigurationError(
        f"start_run takes a call of a job, e.g. build(3), or a coroutine object; not {type(call).__name__}"
        + ("; declare the function with @job and call it" if callable(call) else "")
    )
