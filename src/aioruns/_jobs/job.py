"""Jobs and their calls."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Coroutine, Generator, Iterable
from types import SimpleNamespace
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from aioruns._aio.threads import start_thread
from aioruns._jobs.context import detached
from aioruns._values.checks import check_seconds, check_text
from aioruns._values.json import Decoder, decoder_for
from aioruns.errors import ConfigurationError

__all__ = ["Job", "JobCall", "job", "jobs_by_name"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Job(Generic[P, R]):
    """A function declared with ``@job``. Calling it makes a ``JobCall``; nothing runs yet.

    Attributes:
        name: Its name, which its runs carry in the store and everywhere else.
        function: The function itself.
        timeout: Seconds that one attempt may execute, or None for no limit.
        cancel_grace: Seconds between setting ``cancel_event`` and cancelling the task.
    """

    def __init__(
        self,
        function: Callable[P, Any],
        *,
        name: str | None = None,
        timeout: float | None = None,
        cancel_grace: float = 0.0,
    ) -> None:
        if isinstance(function, (classmethod, staticmethod)) or not callable(function):
            raise ConfigurationError("@job goes on a plain function; write @staticmethod above @job, not below")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                "@job goes on a function that returns; a generator cannot be a job: emit events with ctx.emit"
            )
        self.name: Final = check_text(
            name if name is not None else getattr(function, "__name__", ""), what="the name of a job"
        )
        self.timeout: Final = check_seconds(timeout, what=f"timeout of job {self.name!r}")
        self.cancel_grace: Final = (
            check_seconds(cancel_grace, what=f"cancel_grace of job {self.name!r}", zero=True) or 0.0
        )
        self.function: Final = function
        self.is_async: Final = any(map(inspect.iscoroutinefunction, (function, function.__call__)))
        functools.update_wrapper(cast("Callable[..., Any]", self), function)

    def __set_name__(self, owner: type, name: str) -> None:
        raise ConfigurationError(
            f"@job on the method {owner.__name__}.{name}: self cannot be stored;"
            " make it a function, or write @staticmethod above @job"
        )

    def __repr__(self) -> str:
        return f"<Job {self.name!r}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> JobCall[R]:
        """Make a call, not yet running.

        Raises:
            TypeError: The arguments do not fit the function's signature.
        """
        return JobCall(self, self.signature.bind(*args, **kwargs))

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.function)

    def bind_stored(self, arguments: dict[str, Any]) -> Callable[[], Any]:
        """Bind arguments by name, as they are stored, to the function."""
        if self._is_called_by_name:
            return functools.partial(self.function, **arguments)
        bound = inspect.BoundArguments(self.signature, arguments)  # pyright: ignore[reportArgumentType]
        return functools.partial(self.function, *bound.args, **bound.kwargs)

    @functools.cached_property
    def _is_called_by_name(self) -> bool:
        # A wrapper may take the arguments by position only, or under other names.
        own = inspect.signature(self.function, follow_wrapped=False).parameters
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return own.keys() == self.signature.parameters.keys() and all(each.kind in by_name for each in own.values())

    @functools.cached_property
    def decoders(self) -> dict[str, Decoder[Any]]:
        """The decoder of each parameter's stored value, by name.

        Raises:
            ConfigurationError: A type hint cannot be resolved or is not supported.
        """
        return {name: self._decoder(name) for name in self.signature.parameters}

    def _decoder(self, name: str) -> Decoder[Any]:
        try:
            return decoder_for(self.hint(name))
        except TypeError as error:
            raise self._unusable(name, error) from error

    def hint(self, name: str) -> Any:
        """Return the type of a parameter's stored value: a list for ``*args``, a dict for ``**kwargs``.

        Raises:
            ConfigurationError: The type hint cannot be resolved.
        """
        parameter = self.signature.parameters[name]
        try:
            hint = self._resolve(parameter.annotation)
        except (NameError, TypeError, SyntaxError) as error:
            raise self._unusable(name, error) from error
        if parameter.kind is parameter.VAR_POSITIONAL:
            return list[hint]
        if parameter.kind is parameter.VAR_KEYWORD:
            return dict[str, hint]
        return hint

    def _unusable(self, name: str, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"job {self.name!r}: the type hint of {name!r} cannot be used: {error};"
            " name a type that exists at run time and has a JSON form"
        )

    @functools.cached_property
    def result_decoder(self) -> Decoder[Any]:
        """The decoder of a stored result; if the return hint is missing or unusable, it gives plain JSON values."""
        try:
            return decoder_for(self._resolve(self.signature.return_annotation))
        except (NameError, TypeError, SyntaxError):
            return decoder_for(Any)

    def _resolve(self, annotation: Any) -> Any:
        if annotation is inspect.Signature.empty:
            return Any
        holder = SimpleNamespace(__annotations__={"it": annotation})
        scope = getattr(inspect.unwrap(self.function), "__globals__", {})
        return typing.get_type_hints(holder, globalns=scope, include_extras=True)["it"]


def jobs_by_name(jobs: Iterable[Job[..., Any]]) -> dict[str, Job[..., Any]]:
    """Index jobs by name.

    Raises:
        ConfigurationError: Two jobs have the same name, or one of the values is not a job.
    """
    known: dict[str, Job[..., Any]] = {}
    for job in jobs:
        if not isinstance(job, Job):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"jobs must be functions declared with @job, not {job!r}")
        if known.setdefault(job.name, job) is not job:
            raise ConfigurationError(f"two jobs are called {job.name!r}: give one of them a name=")
    return known


class JobCall(Generic[R_co]):
    """A job with its arguments: pass it to ``RunManager.start_run``, or await it to run it here and now."""

    __slots__ = ("bound", "job")

    def __init__(self, job: Job[..., Any], bound: inspect.BoundArguments) -> None:
        self.job: Job[..., Any] = job
        self.bound: inspect.BoundArguments = bound

    def __repr__(self) -> str:
        return f"<JobCall of {self.job.name!r}>"

    def __await__(self) -> Generator[Any, None, R_co]:
        return self._run_here().__await__()

    async def _run_here(self) -> R_co:
        with detached():
            call = functools.partial(self.job.function, *self.bound.args, **self.bound.kwargs)
            if self.job.is_async:
                return await call()
            thread = start_thread(call, name=f"aioruns-{self.job.name}")
            await thread.ended
            return thread.outcome()


class _JobDecorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Job[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Job[P, R]: ...


@overload
def job(function: Callable[P, Coroutine[Any, Any, R]], /) -> Job[P, R]: ...
@overload
def job(function: Callable[P, R], /) -> Job[P, R]: ...
@overload
def job(*, name: str | None = None, timeout: float | None = None, cancel_grace: float = 0.0) -> _JobDecorator: ...
def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float | None = None,
    cancel_grace: float = 0.0,
) -> Any:
    """Declare a function, ``async def`` or ``def``, as a job.

    Args:
        function: The function; not a method, since ``self`` cannot be stored.
        name: The job's name, unique within a manager's ``jobs``; the function's own name by default.
        timeout: Seconds that one attempt may execute; None for no limit.
        cancel_grace: Seconds between setting ``cancel_event`` and cancelling the task; 0 for both at once.

    Raises:
        ConfigurationError: ``function`` is not a plain function, or another argument is not valid.
    """

    def declare(function: Callable[..., Any]) -> Job[..., Any]:
        return Job(function, name=name, timeout=timeout, cancel_grace=cancel_grace)

    return declare if function is None else declare(function)
