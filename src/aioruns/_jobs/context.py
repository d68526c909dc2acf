"""How a run sees itself: ``current_run()`` and the context that it returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import weakref
from collections.abc import AsyncIterable, Generator, Iterable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from aioruns._aio.events import CancelEvent
from aioruns._jobs.lines import MAX_DATA, MAX_LINE, encode_line, finite, label, level_name, shown
from aioruns._jobs.tracking import Track
from aioruns._values.json import encode
from aioruns._values.redaction import MAX_TRACEBACK, Redact, cut, redact_secrets, safe_text
from aioruns.errors import ConfigurationError

__all__ = ["RunContext", "Sink", "current_context", "current_run", "detached"]

T = TypeVar("T")

_KIND = re.compile(r"[A-Za-z][\w.:-]{0,63}")
_OWN_KINDS = frozenset({"status", "log", "progress", "step"})


class Sink(Protocol):
    """Takes a context's events."""

    def put(self, kind: str, data: str, *, droppable: bool) -> None:
        """Take an event; ``data`` is JSON."""
        ...

    def put_progress(self, step: str | None, data: str) -> None:
        """Take progress; only the newest of each step counts."""
        ...

    async def flush(self) -> None:
        """Return when everything taken so far is stored."""
        ...


class RunContext:
    """A run as its own function sees it. Any thread may emit events; each thread's events keep their order.

    Attributes:
        id: Id of the run; 0 if the job was awaited outside any run.
        key: Key of the run, or None.
        attempt: Number of the attempt; 1 is the first.
        cancel_event: Set when aioruns asks the function to end: because cancel was requested, its time-out has passed,
            its manager is closing, or the lease is lost.
    """

    __slots__ = ("__weakref__", "_logger", "_redact", "_sink", "attempt", "cancel_event", "id", "key", "owner")

    def __init__(
        self,
        run_id: int,
        *,
        key: str | None,
        attempt: int,
        cancel_event: CancelEvent,
        sink: Sink,
        redact: Redact = redact_secrets,
        owner: str = "",
    ) -> None:
        self.id: int = run_id
        self.key: str | None = key
        self.attempt: int = attempt
        self.cancel_event: CancelEvent = cancel_event
        self.owner: str = owner
        self._sink = sink
        self._redact = redact
        self._logger: logging.Logger | None = None

    def __repr__(self) -> str:
        return f"<RunContext of run {self.id}, attempt {self.attempt}>"

    @property
    def cancel_requested(self) -> bool:
        """Whether the function has been asked to end. Safe in any thread."""
        return self.cancel_event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise if the function has been asked to end. Safe in any thread.

        Raises:
            asyncio.CancelledError: The function has been asked to end.
        """
        if self.cancel_event.is_set():
            raise asyncio.CancelledError(f"run {self.id} was asked to end")

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Block the calling thread until the function has been asked to end; for ``def`` jobs.

        Args:
            timeout: The most seconds to wait.

        Returns:
            Whether the function has been asked to end.

        Raises:
            ConfigurationError: The caller is on the event loop's thread, which the wait would block.
        """
        return self.cancel_event.wait_in_thread(timeout)

    def set_progress(
        self, current: float, total: float | None = None, *, step: str | None = None, message: str | None = None
    ) -> None:
        """Report how far the run has come. This is cheap: each commit stores only the newest progress of each step.

        Args:
            current: Units done; clamped to between 0 and ``total``.
            total: Units there are, or None while that is unknown.
            step: Label of the part of the run that is executing.
            message: What the run is working on.

        Raises:
            ConfigurationError: A number is not finite.
        """
        total = None if total is None else max(finite(total), 0)
        current = max(finite(current), 0)
        current = current if total is None else min(current, total)
        data = {"current": current, "total": total, "step": label(step), "message": label(message)}
        self._sink.put_progress(step, encode(data, what="progress"))

    def track(self, items: Iterable[T] | AsyncIterable[T], *, step: str | None = None) -> Track[T]:
        """Iterate over items and report progress: ``for item in ctx.track(items)``, or ``async for``.

        Args:
            items: Anything iterable; if it has a ``len()``, that is the total.
            step: Label of this part of the run; reported before the first item is fetched.
        """
        return Track(self.set_progress, items, step)

    def emit(self, kind: str, data: Any) -> None:
        """Emit an event of your own kind; aioruns never drops it.

        Args:
            kind: Letters, digits and ``. : _ -``, starting with a letter; not ``status``, ``log``, ``progress`` or
                ``step``.
            data: At most 64 KiB as JSON.

        Raises:
            ConfigurationError: The kind is not allowed, or the data cannot be stored.
            StoreUnavailable: Too many events are waiting to be stored; ``await ctx.flush()`` now and then.
        """
        if not _KIND.fullmatch(kind) or kind in _OWN_KINDS:
            raise ConfigurationError(
                f"the event kind {kind!r} is not allowed: start with a letter, go on with letters, digits and . : _ -,"
                f" and leave {', '.join(sorted(_OWN_KINDS))} to aioruns"
            )
        self._sink.put(kind, encode(data, what=f"the data of event {kind!r}", limit=MAX_DATA), droppable=False)

    def log(self, level: str | int, message: str, **fields: Any) -> None:
        """Write a line to the run's log; fields without a JSON form are stored as their ``repr``.

        Args:
            level: ``debug``, ``info``, ``warning``, ``error``, ``critical``, or a level number of ``logging``.
            message: At most 16 KiB; aioruns cuts the middle out of a longer one, and the event tells so.
            **fields: Structured values that belong to the line.

        Raises:
            ConfigurationError: The level is unknown.
        """
        self.write_line(level_name(level), message, fields=fields)

    def write_line(
        self,
        level: str,
        message: str,
        *,
        logger: str | None = None,
        fields: dict[str, Any] | None = None,
        trace: str = "",
    ) -> None:
        """Store a log line; ``log``, ``logger`` and the capture of ``logging`` all do so through this method."""
        text = shown(str, message)
        short = cut(text, MAX_LINE)
        data: dict[str, Any] = {"level": level, "message": short}
        if short is not text:
            data["cut"] = len(text)
        if logger is not None:
            data["logger"] = label(logger)
        if fields:
            data["fields"] = fields
        if trace:
            data["traceback"] = safe_text(trace, MAX_TRACEBACK, self._redact, one_line=False)
        self._sink.put("log", encode_line(data), droppable=True)

    @property
    def logger(self) -> logging.Logger:
        """A standard logger. The run's log gets every line, the application's handlers what its levels let through."""
        if self._logger is None:
            self._logger = RunLogger(self)
        return self._logger

    async def flush(self) -> None:
        """Wait until all events so far are stored. Cancelling the wait loses nothing.

        Raises:
            StoreUnavailable: The store has been away for too long; aioruns keeps the events and tries again.
            LeaseLost: The run no longer belongs to this manager.
        """
        await self._sink.flush()


class RunLogger(logging.Logger):
    """The logger of one run: the run's log gets every line, the application's handlers what its levels let through."""

    def __init__(self, context: RunContext) -> None:
        super().__init__("aioruns.run", logging.NOTSET)
        # The context refers to this logger. A strong reference back would leave ended runs to the garbage collector.
        self._context = weakref.ref(context)
        self._path = f"aioruns.run.{context.id}"
        self.parent = logging.getLogger("aioruns.run")

    def isEnabledFor(self, level: int) -> bool:
        """Return True: the run's log takes every level."""
        return True

    def handle(self, record: logging.LogRecord) -> None:
        """Store the record, then pass it on."""
        if (context := self._context()) is not None:
            write_record(context, record, logger=None)
        record.name = self._path
        parent = cast("logging.Logger", self.parent)
        if parent.isEnabledFor(record.levelno):
            parent.handle(record)


def write_record(context: RunContext, record: logging.LogRecord, *, logger: str | None) -> None:
    """Store a ``logging`` record as a line of a run's log."""
    try:
        message = record.getMessage()
    except Exception as error:  # noqa: BLE001 - wrong format arguments: logging itself only prints such errors
        message = f"{shown(str, record.msg)} (not formatted: {shown(str, error)})"
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    context.write_line(record.levelname.lower(), message, logger=logger, trace=trace)


_current: ContextVar[RunContext] = ContextVar("aioruns.current_run")


def current_context() -> RunContext | None:
    """Return the context of the run that this code belongs to, or None."""
    return _current.get(None)


def current_run() -> RunContext:
    """Return the context of the run that this code belongs to.

    This works in the run's function, in tasks that it creates, and in threads started with ``asyncio.to_thread`` or
    ``anyio.to_thread``. In other threads, call through ``contextvars.copy_context().run``.

    Raises:
        ConfigurationError: This code belongs to no run.
    """
    context = _current.get(None)
    if context is None:
        raise ConfigurationError(
            "current_run() was called outside a run. Start the job with RunManager.start_run, or await the call;"
            " in a thread of your own, call through contextvars.copy_context().run"
        )
    return context


def context_of(task: asyncio.Task[Any]) -> RunContext | None:
    """Return the context of the run that a task belongs to, or None; Python 3.11 cannot tell, so always None there."""
    get_context = getattr(task, "get_context", None)
    context = None if get_context is None else get_context().get(_current)
    return context if context is not None and context.id else None


def enter_context(context: RunContext) -> None:
    """Make a context the current one for the rest of this task or thread."""
    _current.set(context)


class _LoggingSink:
    """Writes the events of a job that was awaited outside any run to ``logging``."""

    _log = logging.getLogger("aioruns.detached")

    def put(self, kind: str, data: str, *, droppable: bool) -> None:
        self._log.info("%s %s", kind, data)

    def put_progress(self, step: str | None, data: str) -> None:
        self._log.debug("progress %s", data)

    async def flush(self) -> None:
        return


@contextlib.contextmanager
def detached() -> Generator[None]:
    """Give code outside any run a context with id 0, whose events go to ``logging``; inside a run, change nothing."""
    if _current.get(None) is not None:
        yield
        return
    token = _current.set(RunContext(0, key=None, attempt=1, cancel_event=CancelEvent(), sink=_LoggingSink()))
    try:
        yield
    finally:
        _current.reset(token)
