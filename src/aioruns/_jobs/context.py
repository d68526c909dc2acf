"""What a run sees of itself: ``current_run()`` and the context that it returns."""

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
    """Where a context's events go."""

    def put(self, kind: str, data: str, *, droppable: bool) -> None:
        """Take one event; ``data`` is JSON."""
        ...

    def put_progress(self, step: str | None, data: str) -> None:
        """Take progress; only the newest of a step counts."""
        ...

    async def flush(self) -> None:
        """Return when everything taken is stored."""
        ...


class RunContext:
    """A run as its own function sees it. Events may be said from any thread; order is kept per thread.

    Attributes:
        id: Id of the run; 0 when the job was awaited outside any run.
        key: Key of the run, or None.
        attempt: Which try this is; 1 is the first.
        cancel_event: Set when the function is asked to end: cancel, its time-out, a manager that stops, a lost lease.
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
        """End the function here if it has been asked to end. Safe in any thread.

        Raises:
            asyncio.CancelledError: Cancel was requested, the time is over, the manager stops, or the run was lost.
        """
        if self.cancel_event.is_set():
            raise asyncio.CancelledError(f"run {self.id} was asked to end")

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Block the calling thread until the function has been asked to end; for ``def`` jobs.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether the function has been asked to end.

        Raises:
            ConfigurationError: Called on the event loop's thread, which it would block.
        """
        return self.cancel_event.wait_in_thread(timeout)

    def set_progress(
        self, current: float, total: float | None = None, *, step: str | None = None, message: str | None = None
    ) -> None:
        """Say how far the run has come. Cheap: of the calls between two commits only the newest of a step is stored.

        Args:
            current: Units done; held between 0 and ``total``.
            total: Units there are, or None while that is unknown.
            step: Label of the part of the run that is executing; progress of another step is not replaced.
            message: A word about the unit in hand.

        Raises:
            ConfigurationError: A number is not finite.
        """
        total = None if total is None else max(finite(total), 0)
        current = max(finite(current), 0)
        current = current if total is None else min(current, total)
        data = {"current": current, "total": total, "step": label(step), "message": label(message)}
        self._sink.put_progress(step, encode(data, what="progress"))

    def track(self, items: Iterable[T] | AsyncIterable[T], *, step: str | None = None) -> Track[T]:
        """Go through items and say how far: ``for item in ctx.track(items)``, or ``async for``.

        Args:
            items: Anything iterable; its ``len()``, where it has one, is the total.
            step: Label of this part of the run; said before the first item is fetched.
        """
        return Track(self.set_progress, items, step)

    def emit(self, kind: str, data: Any) -> None:
        """Say something of the user's own kind; never dropped.

        Args:
            kind: Letters, digits and ``. : _ -``, starting with a letter; none of ``status``, ``log``, ``progress``,
                ``step``.
            data: At most 64 KiB as JSON.

        Raises:
            ConfigurationError: The kind is not allowed, or the data cannot be stored.
            StoreUnavailable: Too many events wait to be stored; ``await ctx.flush()`` now and then.
        """
        if not _KIND.fullmatch(kind) or kind in _OWN_KINDS:
            raise ConfigurationError(
                f"the event kind {kind!r} is not allowed: start with a letter, go on with letters, digits and . : _ -,"
                f" and leave {', '.join(sorted(_OWN_KINDS))} to aioruns"
            )
        self._sink.put(kind, encode(data, what=f"the data of event {kind!r}", limit=MAX_DATA), droppable=False)

    def log(self, level: str | int, message: str, **fields: Any) -> None:
        """Write a line to the run's log; fields that have no JSON form are stored as their ``repr``.

        Args:
            level: ``debug``, ``info``, ``warning``, ``error``, ``critical``, or a number of ``logging``.
            message: At most 16 KiB; of a longer one the middle is cut, and the event says so.
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
        """Store a log line whose parts are known: what ``log``, ``logger`` and the capture of ``logging`` share."""
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
        """A standard logger; each line goes to the run's log, and to the application's handlers as its levels allow."""
        if self._logger is None:
            self._logger = RunLogger(self)
        return self._logger

    async def flush(self) -> None:
        """Return when everything said so far is stored. Cancelling the wait loses nothing.

        Raises:
            StoreUnavailable: The store has been away for too long; what was said is kept, and tried again.
            LeaseLost: The run belongs to this manager no longer.
        """
        await self._sink.flush()


class RunLogger(logging.Logger):
    """The logger of one run: its own log gets every line, the application's handlers what its levels allow."""

    def __init__(self, context: RunContext) -> None:
        super().__init__("aioruns.run", logging.NOTSET)
        self._context = weakref.ref(context)  # which holds this logger: a run that has ended needs no garbage collector
        self._path = f"aioruns.run.{context.id}"
        self.parent = logging.getLogger("aioruns.run")

    def isEnabledFor(self, level: int) -> bool:
        """Every level is enabled: the run's log takes all."""
        return True

    def handle(self, record: logging.LogRecord) -> None:
        """Store the record, then hand it on."""
        if (context := self._context()) is not None:
            write_record(context, record, logger=None)
        record.name = self._path
        parent = cast("logging.Logger", self.parent)
        if parent.isEnabledFor(record.levelno):
            parent.handle(record)


def write_record(context: RunContext, record: logging.LogRecord, *, logger: str | None) -> None:
    """Store a record of ``logging`` as a line of a run's log."""
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

    Works in the run's function, in tasks that it creates, and in threads started with ``asyncio.to_thread`` or
    ``anyio.to_thread``; for other threads use ``contextvars.copy_context().run``.

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
    """Return the context of the run that a task belongs to, or None; before Python 3.12, tasks do not tell."""
    get_context = getattr(task, "get_context", None)
    context = None if get_context is None else get_context().get(_current)
    return context if context is not None and context.id else None


def enter_context(context: RunContext) -> None:
    """Make a context the current one, for the rest of this task or thread."""
    _current.set(context)


class _LoggingSink:
    """Takes the events of a job that was awaited outside any run."""

    _log = logging.getLogger("aioruns.detached")

    def put(self, kind: str, data: str, *, droppable: bool) -> None:
        self._log.info("%s %s", kind, data)

    def put_progress(self, step: str | None, data: str) -> None:
        self._log.debug("progress %s", data)

    async def flush(self) -> None:
        return


@contextlib.contextmanager
def detached() -> Generator[None]:
    """Serve code outside any run with a context of id 0, whose events go to ``logging``; else change nothing."""
    if _current.get(None) is not None:
        yield
        return
    token = _current.set(RunContext(0, key=None, attempt=1, cancel_event=CancelEvent(), sink=_LoggingSink()))
    try:
        yield
    finally:
        _current.reset(token)
