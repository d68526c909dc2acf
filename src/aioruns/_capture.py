"""Standard ``logging`` inside a run, captured as its events: by chaining the log record factory, not with a handler.

A root handler would make the application's ``basicConfig`` a no-op, and ``dictConfig`` would remove it. What the
application's own levels discard is never made into a record, so it is not seen here. The level of the logger
``aioruns.capture`` filters further.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from aioruns._context import current_context, write_record

__all__ = ["install", "uninstall"]

_capture = logging.getLogger("aioruns.capture")
_busy = threading.local()
_users = 0
_previous: Any = logging.LogRecord


def install() -> None:
    """Begin to capture; each call is to be undone by one of ``uninstall``."""
    global _users, _previous
    _users += 1
    if _users == 1 and logging.getLogRecordFactory() is not _factory:
        _previous = logging.getLogRecordFactory()
        logging.setLogRecordFactory(_factory)


def uninstall() -> None:
    """Stop capturing. If another factory has been chained behind ours meanwhile, ours stays and does nothing."""
    global _users
    _users -= 1
    if not _users and logging.getLogRecordFactory() is _factory:
        logging.setLogRecordFactory(_previous)


def _factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record: logging.LogRecord = _previous(*args, **kwargs)
    if _users and not getattr(_busy, "now", False) and _is_wanted(record):
        context = current_context()
        if context is not None and context.id:
            _busy.now = True  # a __str__ or __repr__ that logs is not captured again
            try:
                write_record(context, record, logger=record.name)
            except Exception:  # the application's logging must work, whatever becomes of our copy
                _capture.debug("a log record could not be captured", exc_info=True)
            finally:
                _busy.now = False
    return record


def _is_wanted(record: logging.LogRecord) -> bool:
    name: str | None = record.name  # makeLogRecord passes None
    own = name is None or name == "aioruns" or name.startswith("aioruns.")
    return not own and record.levelno >= _capture.level
