"""Capture standard ``logging`` inside a run as its events, by chaining the log record factory and not with a handler.

A root handler would make the application's ``basicConfig`` a no-op, and ``dictConfig`` would remove it. ``logging``
makes no record of what the application's levels discard, so this module does not see it. The level of the logger
``aioruns.capture`` filters further.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from aioruns._jobs.context import current_context, write_record

__all__ = ["install", "uninstall"]

_level = logging.getLogger("aioruns.capture")
_lock = threading.Lock()


class _Factory:
    """A link in the chain of record factories; once it has no users, it only passes records on."""

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self.users = 0
        self._busy = threading.local()

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.previous(*args, **kwargs)
        if self.users and not getattr(self._busy, "now", False) and _is_wanted(record):
            self._busy.now = True  # do not capture what a __str__ or __repr__ logs meanwhile
            try:
                _store(record)
            except Exception:  # the application's logging must work, whatever happens to our copy
                logging.getLogger("aioruns").debug("a log record could not be captured", exc_info=True)
            finally:
                self._busy.now = False
        return record


_links: list[_Factory] = []  # holds the factory in use, if any


def install() -> None:
    """Start capturing; undo each call by one of ``uninstall``."""
    with _lock:
        if not _links:
            _links.append(_Factory(logging.getLogRecordFactory()))
            logging.setLogRecordFactory(_links[0])
        _links[0].users += 1


def uninstall() -> None:
    """Stop capturing. If others have chained a factory to ours since, ours stays and only passes records on."""
    with _lock:
        link = _links[0]
        link.users -= 1
        if not link.users:
            _links.clear()
            if logging.getLogRecordFactory() is link:
                logging.setLogRecordFactory(link.previous)


def _is_wanted(record: logging.LogRecord) -> bool:
    name = record.name or "aioruns"  # makeLogRecord passes None
    return name != "aioruns" and not name.startswith("aioruns.") and record.levelno >= _level.level


def _store(record: logging.LogRecord) -> None:
    context = current_context()
    if context is not None and context.id:
        write_record(context, record, logger=record.name)
