"""Decides how an attempt ended, and what is stored of that. No I/O."""

from __future__ import annotations

import asyncio
import logging
import sys

from aioruns._running.live import LiveRun, Why
from aioruns._values.json import NotStorable, encode
from aioruns._values.model import now_micros
from aioruns._values.redaction import Redact, describe, skip_own_frames
from aioruns._values.status import RunStatus, ending
from aioruns.abc import Ending

__all__ = ["decide", "without_own_frames"]

log = logging.getLogger("aioruns")


def decide(live: LiveRun, *, stopping: bool, redact: Redact) -> Ending:
    """Decide how a run ended, even if the returned value or the exception has code that raises.

    Args:
        live: The run; its function is over.
        stopping: Whether its manager is stopping, or the event loop is being torn down.
        redact: Removes from errors what must not be shown.
    """
    for _ in range(2):  # twice: the first error may have been another interrupt from the keyboard
        try:
            return _decide(live, stopping=stopping, redact=redact)
        except BaseException:  # noqa: BLE001 - the value's own code, which may raise anything
            continue
    # Do not show what was raised: that may raise again.
    log.warning("run %s ended with a value or an exception that cannot be looked at", live.run.id)
    live.attempt.error = RuntimeError("the function ended with a value or an exception that cannot be looked at")
    return _decide(live, stopping=stopping, redact=redact)


def _decide(live: LiveRun, *, stopping: bool, redact: Redact) -> Ending:
    attempt = live.attempt
    result_json: str | None = None
    error = attempt.error
    if error is None:
        try:
            result_json = encode(attempt.result, what=f"the result of run {live.run.id}")
        except NotStorable as not_storable:
            error = attempt.error = without_own_frames(not_storable)
    status = ending(
        returned=error is None,
        cancel_requested=live.cancel_requested_at is not None,
        interrupting=Why.CLOSING in attempt.asked or (isinstance(error, asyncio.CancelledError) and stopping),
    )
    if error is not None and Why.TIMED_OUT in attempt.asked and status is RunStatus.FAILED:
        error = attempt.error = _timeout_error(live, error)
    message, trace = _describe(live, status, error, redact)
    return Ending(
        status=status,
        at=now_micros(),
        result_json=result_json,
        error=message,
        traceback=trace,
        cancel_requested_at=live.cancel_requested_at,
        cancel_reason=live.cancel_reason,
        events=attempt.outbox.take_rest(),
    )


def _describe(
    live: LiveRun, status: RunStatus, error: BaseException | None, redact: Redact
) -> tuple[str | None, str | None]:
    """Return the error and traceback to store; log an exception that did not decide the status in the run's stream."""
    if error is None:
        return None, None
    if status is RunStatus.FAILED:
        message, trace = describe(error, redact)
        if isinstance(error, asyncio.CancelledError):
            message = "CancelledError: the task was cancelled, and not through cancel_run"
        return message, trace
    if not isinstance(error, asyncio.CancelledError):
        message, trace = describe(error, redact)
        live.attempt.context.write_line("warning", f"asked to end, the function raised {message}", trace=trace)
    return (None if status is RunStatus.CANCELLED else "the manager was closed before the run ended"), None


def _timeout_error(live: LiveRun, error: BaseException) -> BaseException:
    late = TimeoutError(f"the run was still executing after {live.run.timeout:g} s")
    late.__cause__ = error if not isinstance(error, asyncio.CancelledError) else None
    return late.with_traceback(error.__traceback__)


def without_own_frames(error: BaseException) -> BaseException:
    """Remove our frames, which refer to the run, from the traceback of the exception that is being handled."""
    # The run keeps the exception, so they would form a cycle. An exception may override `with_traceback`.
    return BaseException.with_traceback(error, skip_own_frames(sys.exc_info()[2]))
